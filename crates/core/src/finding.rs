//! [`Finding`]: what a user should know about a data set or a step before believing what is measured.

use serde::{Deserialize, Serialize};

/// Something about a data set, its splits, a step, or how its inputs differ from what the source of a step learned from,
/// that is probably not meant, or that leaves data out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// The sentence for the user, a lowercase fragment without the name of the data set or step: counts, names, and
    /// what helps.
    pub message: String,
}

/// The kinds of findings. Programs go by these, never by the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// All labelled rows, or all training rows, are of one class.
    OneClass,
    /// No class of the test rows is a class of the training rows.
    NothingLearnedIsTested,
    /// Names of classes that are equal but for case, white space or Unicode form.
    SimilarClassNames,
    /// A class whose name means that the label is missing, such as `nan`.
    MissingValueAsClass,
    /// Names of groups that are equal but for case, white space or Unicode form.
    SimilarGroupNames,
    /// Names of rows that several rows have.
    RepeatedIds,
    /// Classes named like splits, such as `train` and `test`.
    SplitAsClass,
    /// Labels that are numbers, most of them different: a regression, taken for classes.
    NumbersAsClasses,
    /// Labels that are one number, written in several ways, taken for one class.
    MergedNumbers,
    /// A class with a single row.
    SingleRowClass,
    /// A class of which there is no row at all.
    ClassWithoutRows,
    /// A class without training rows.
    ClassWithoutTrainingRows,
    /// A class without test rows.
    ClassWithoutTestRows,
    /// Equal rows with different labels.
    ContradictingLabels,
    /// Files that are not read.
    UnusedFiles,
    /// Folders of classes that are not used.
    UnusedClasses,
    /// Rows that are left out.
    UnusedRows,
    /// Rows without a label.
    UnlabelledRows,
    /// Texts of which only the start is used.
    TruncatedTexts,
    /// Levels of a category that are equal but for case or white space.
    SimilarCategories,
    /// Levels of a category whose name means that the value is missing, such as `nan`.
    MissingValueAsLevel,
    /// A category most of whose rows have a level of their own.
    LevelForEachRow,
    /// A column of inputs that determines the label, each of its values one class.
    ColumnSaysLabel,
    /// A column of numbers that differ by less than single precision holds.
    NumbersTooFine,
    /// Quoted fields over several lines that look like rows of the file.
    RowsInQuotes,
    /// A column of numbers of which no training row has one.
    ColumnWithoutNumbers,
    /// Columns of numbers on scales far apart.
    ScalesApart,
    /// Pictures whose values use few of the levels that their format has.
    NarrowPixelRange,
    /// Options of a step or a data set that have no effect.
    UnusedOptions,
    /// Texts of which the network is given no word that it knows.
    TextsWithoutWords,
    /// The columns that the network a step starts from learned from, in another order.
    OtherColumnOrder,
    /// The classes of the step that a step starts from, in another order.
    OtherClassOrder,
    /// Other columns, or other levels of a category, where that network had its own.
    OtherColumns,
    /// Tokens whose numbers stand for other pieces than in that network's embedding.
    OtherVocabulary,
    /// The same pieces, which other rules make of a text.
    OtherTokenRules,
    /// Values on another scale than those that network learned from.
    OtherScale,
    /// Pixels as they are, for a network of which nobody says how its pixels were normalised.
    UnknownScale,
    /// Pictures of another size, or cut otherwise, than those that network learned from.
    OtherFrame,
    /// A domain that a step holds out, from which a step before it has learned.
    HeldOutWasLearned,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Legitimate, or what the file asked for.
    Note,
    /// Probably not meant.
    Warning,
    /// Nothing sensible can be trained or tested.
    Error,
}

impl Finding {
    /// A finding of this kind.
    pub fn new(kind: FindingKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

impl FindingKind {
    /// Whether it is about labels and classes, and so of no matter where no label is read.
    pub fn is_about_classes(self) -> bool {
        matches!(
            self,
            Self::OneClass
                | Self::SimilarClassNames
                | Self::MissingValueAsClass
                | Self::SplitAsClass
                | Self::NumbersAsClasses
                | Self::MergedNumbers
                | Self::SingleRowClass
                | Self::ClassWithoutRows
                | Self::ContradictingLabels
                | Self::UnusedClasses
                | Self::UnlabelledRows
        )
    }

    /// How much findings of this kind matter.
    pub fn severity(self) -> Severity {
        match self {
            Self::OneClass | Self::NothingLearnedIsTested | Self::OtherColumnOrder | Self::OtherVocabulary => {
                Severity::Error
            }
            Self::MergedNumbers
            | Self::ClassWithoutTestRows
            | Self::UnusedClasses
            | Self::UnusedRows
            | Self::UnlabelledRows => Severity::Note,
            _ => Severity::Warning,
        }
    }
}
