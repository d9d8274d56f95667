//! The sections of a pipeline file as they are written. Their doc comments become the schema's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use transplant_core::{Architecture, Dataset, Kind, Metric, Sampler, Spec, Strategy, Task, Transform};

use crate::resolved::{CacheSpec, Divide, TrainerSpec, WeightsSpec};

/// A whole pipeline file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSection {
    /// Version of the file's layout: 1.
    #[serde(rename = "schema")]
    pub(crate) _schema: u64,
    /// The name of the pipeline, and of its run folder.
    pub(crate) name: String,
    /// The root of all randomness, from 0; a swept `seed` takes its place.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Where it computes: `auto` (the GPU the program was built for when there is one), `cpu`, `cuda`, `cuda:N`, `metal`.
    pub(crate) device: Option<String>,
    /// Where outputs of frozen stages are kept.
    #[serde(default)]
    pub(crate) cache: CacheSpec,
    /// Data sets by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, DatasetSection>")]
    pub(crate) datasets: BTreeMap<String, Spec<dyn Dataset>>,
    /// Pretrained weights by name, for `from`.
    #[serde(default)]
    pub(crate) weights: BTreeMap<String, WeightsSpec>,
    /// Networks by name.
    #[serde(default)]
    pub(crate) backbones: BTreeMap<String, Spec<dyn Architecture>>,
    /// Strategies by name. A step's `strategy` is looked for here first, then among the tags.
    #[serde(default)]
    pub(crate) strategies: BTreeMap<String, OneOrMany<dyn Strategy>>,
    /// Tasks by name. Without any there is one, `class`: classification of the target `class`.
    #[serde(default)]
    pub(crate) tasks: BTreeMap<String, Spec<dyn Task>>,
    /// Steps by name. They run in the order of `from`, then of the file.
    #[schemars(with = "BTreeMap<String, StepSection>")]
    pub(crate) steps: BTreeMap<String, Map<String, Value>>,
}

/// A step of a pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepSection {
    /// What the step does; there is `train`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The name of a data set: short for `streams.target` and `tests.test` of this data set.
    pub(crate) dataset: Option<String>,
    /// What it learns from, by the names that strategies know: each a data set, or a table of `dataset` and which of its
    /// rows.
    #[serde(default)]
    pub(crate) streams: BTreeMap<String, StreamSection>,
    /// What the finished model is tested on, by names for tables: each a data set, or a table of `dataset` and which of
    /// its rows. Left out: the test part of `dataset`.
    #[serde(default)]
    pub(crate) tests: BTreeMap<String, TestSection>,
    /// The domain that is tested and not learned from, in every data set of the step that says which domain a row is
    /// of. To leave out each in turn, it is swept.
    pub(crate) held_out: Option<String>,
    /// The step whose network this one starts from, and whose backbone and tasks it takes over; or a name from `weights`.
    pub(crate) from: Option<String>,
    /// The network: a name from `backbones`, a tag, or a table with `type`. Left out where `from` names a
    /// step.
    #[schemars(with = "Option<Named<dyn Architecture>>")]
    pub(crate) backbone: Option<Spec<dyn Architecture>>,
    /// Names of tasks; left out: those of the step in `from`, otherwise all, ordered by name. Rows are drawn by the
    /// classes of the first that has any, and the step is judged by its first metric.
    pub(crate) tasks: Option<Vec<String>>,
    /// How knowledge is moved: a name from `strategies`, a tag, a table with `type`, or a list of these, which compose.
    #[schemars(with = "NamedOrMany<dyn Strategy>")]
    pub(crate) strategy: OneOrMany<dyn Strategy>,
    /// Which draw of the labelled rows, from 0. Left out: that of the steps before and after this one on the same rows,
    /// whatever these look like and whatever stands between, otherwise 0.
    pub(crate) draw: Option<u64>,
    /// Which of the data set's `folds` is tested, from 0. Left out: that of the steps before and after this one on the
    /// same rows, whatever these look like and whatever stands between, otherwise 0.
    pub(crate) fold: Option<u64>,
    /// How it trains.
    #[serde(default)]
    pub(crate) trainer: TrainerSpec,
    /// Metrics beside the tasks' own.
    #[serde(default)]
    pub(crate) metrics: Vec<Spec<dyn Metric>>,
    /// Whether the test part is read at the end; left out: when no other step starts from this one.
    pub(crate) test: Option<bool>,
    /// Views of each row that the random transforms of the data set make when the finished model is tested or predicts, from
    /// 0: what it says is the mean over them and the row as it is (test-time augmentation).
    #[serde(default)]
    pub(crate) test_views: u64,
    /// One run for each combination: keys of this step (`strategy`, `"trainer.epochs"`) or `seed`, each with a list of
    /// values. A seed re-runs the whole chain of steps up to this one, a draw and a fold those before it that learn
    /// from the same rows, and what stands between, so that it is not tested on rows that these were trained on.
    #[serde(default, rename = "sweep")]
    #[schemars(with = "BTreeMap<String, Vec<Value>>")]
    pub(crate) _sweep: Map<String, Value>,
}

/// A stream of batches that a step learns from: the name of a data set, or this table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamTable {
    /// The name of a data set.
    pub(crate) dataset: String,
    /// A part of the data set's `parts`; left out: all but the one that is tested.
    pub(crate) part: Option<String>,
    /// The domain that rows are taken of, or a list of them; left out: all.
    pub(crate) domain: Option<Words>,
    /// Whether labels are learned from. Without them, all rows are used, whatever the data set's `labels_per_class`.
    #[serde(default = "yes")]
    pub(crate) labels: bool,
    /// Labels of each class that may be used, from 1, in the place of the data set's budget.
    pub(crate) labels_per_class: Option<usize>,
    /// Rows whose labels may be used, from 1, in the place of the data set's budget.
    pub(crate) labels_in_all: Option<usize>,
    /// Rows in a batch, at least 1; left out: `trainer.batch_size`.
    pub(crate) batch_size: Option<usize>,
    /// Which rows an epoch shows; left out: each once, or as `trainer.class_balance` says.
    pub(crate) sampler: Option<Spec<dyn Sampler>>,
}

/// What a finished model is tested on: the name of a data set, or this table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestTable {
    /// The name of a data set, whose test part is read.
    pub(crate) dataset: String,
    /// The domain that rows are taken of, or a list of them; left out: all.
    pub(crate) domain: Option<Words>,
}

fn yes() -> bool {
    true
}

/// A word or a list of them.
#[derive(Debug, Clone)]
pub(crate) struct Words(pub(crate) Vec<String>);

/// What is written as the name of a data set, or as a table.
pub(crate) trait OfDataset: Sized {
    /// The table that the name alone stands for.
    fn of_dataset(name: &str) -> Self;
}

impl OfDataset for StreamTable {
    fn of_dataset(name: &str) -> Self {
        Self {
            dataset: name.to_owned(),
            part: None,
            domain: None,
            labels: true,
            labels_per_class: None,
            labels_in_all: None,
            batch_size: None,
            sampler: None,
        }
    }
}

impl OfDataset for TestTable {
    fn of_dataset(name: &str) -> Self {
        Self { dataset: name.to_owned(), domain: None }
    }
}

/// A name of a data set or a table.
#[derive(Debug, Clone)]
pub(crate) struct NameOr<T>(pub(crate) T);

/// A stream as it is written.
pub(crate) type StreamSection = NameOr<StreamTable>;
/// A test as it is written.
pub(crate) type TestSection = NameOr<TestTable>;

impl<'de, T: OfDataset + Deserialize<'de>> Deserialize<'de> for NameOr<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<fn(&T)>);
        impl<'de, T: OfDataset + Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = NameOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a data set, or a table with `dataset`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(NameOr(T::of_dataset(name)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(NameOr(T::deserialize(de::value::MapAccessDeserializer::new(map))?))
            }
        }
        d.deserialize_any(V(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for NameOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("name_or_{}", T::schema_name()).into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let table = T::json_schema(g);
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Words, E> {
                Ok(Words(vec![word.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        d.deserialize_any(V)
    }
}

impl JsonSchema for Words {
    fn schema_name() -> Cow<'static, str> {
        "words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// What all data sets have in common, beside the options of the source.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SharedSection {
    /// Labels of each class that may be used, validation included, from 1; left out: all.
    pub(crate) labels_per_class: Option<u64>,
    /// Rows whose labels may be used, validation included, from 1, whatever their classes; left out: all. The budget of
    /// numbers, which have no classes; not beside `labels_per_class`.
    pub(crate) labels_in_all: Option<u64>,
    /// Share of the usable rows that is set apart for choosing, from 0 to below 1; ignored below 5 labels a class. A
    /// source with a validation part of its own is used with it, and refuses a share, unless `labels_per_class` or
    /// `labels_in_all` is given. Of streams other than the main one, the first with labels by name, all labels are learned
    /// from.
    pub(crate) validation: f64,
    /// Share of the rows that is tested, above 0 and below 1, for a source without a test part of its own. Which rows is the same for
    /// every seed, draw and budget.
    pub(crate) test: Option<f64>,
    /// Parts that a source without a test part of its own is divided into, at least 2; a step tests the one in its `fold`.
    pub(crate) folds: Option<u64>,
    /// How rows are chosen for `test`: `stratified`, every class in its share, or `hashed`, by a hash of the name of
    /// each group, so that all stay where they are when rows are added. Rows without a group go by their `id` in a
    /// `table` or `text_table`, and stay when their cells are corrected, too; rows without either go by what is in
    /// them, pictures by their files.
    pub(crate) divide: Divide,
    /// Parts by name with their shares, above 0 and 1 in sum: streams take rows of the parts that they name, and the part
    /// `test` is tested. Each group is put into a part by a hash of its name, each row without a group by one of its
    /// content, so that data sets whose groups have the same names put them into the same parts.
    pub(crate) parts: Option<BTreeMap<String, f64>>,
    /// Deterministic transforms, always applied, in this order.
    pub(crate) transforms: Vec<Spec<dyn Transform>>,
    /// Random transforms, applied while training, in this order.
    pub(crate) augment: Vec<Spec<dyn Transform>>,
}

impl SharedSection {
    /// The keys that do not belong to a source.
    pub(crate) const KEYS: [&str; 9] = [
        "labels_per_class",
        "labels_in_all",
        "validation",
        "test",
        "folds",
        "divide",
        "parts",
        "transforms",
        "augment",
    ];
}

/// One component or a list of them.
pub(crate) struct OneOrMany<K: ?Sized> {
    /// The components.
    pub(crate) specs: Vec<Spec<K>>,
    /// Whether they were written as a list.
    pub(crate) list: bool,
}

impl<K: ?Sized> fmt::Debug for OneOrMany<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.specs.fmt(f)
    }
}

impl<'de, K: ?Sized> Deserialize<'de> for OneOrMany<K> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V<K: ?Sized>(PhantomData<fn(&K)>);
        impl<'de, K: ?Sized> Visitor<'de> for V<K> {
            type Value = OneOrMany<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, a table with `type`, or a list of these")
            }

            fn visit_str<E: de::Error>(self, tag: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany { specs: vec![Spec::new(tag)], list: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let spec = Spec::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(OneOrMany { specs: vec![spec], list: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut specs = Vec::new();
                while let Some(spec) = seq.next_element()? {
                    specs.push(spec);
                }
                Ok(OneOrMany { specs, list: true })
            }
        }
        d.deserialize_any(V(PhantomData))
    }
}

impl<K: ?Sized + Kind> JsonSchema for OneOrMany<K> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_list", K::KIND).into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let one = Spec::<K>::json_schema(g);
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Stands in the schema for a component that may also be given by a name of the file.
pub(crate) struct Named<K: ?Sized>(PhantomData<fn(&K)>);

impl<K: ?Sized + Kind> JsonSchema for Named<K> {
    fn schema_name() -> Cow<'static, str> {
        format!("named_{}", K::KIND).into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, Spec::<K>::json_schema(g)] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Stands in the schema for one component or several, each of which may be given by a name of the file.
pub(crate) struct NamedOrMany<K: ?Sized>(PhantomData<fn(&K)>);

impl<K: ?Sized + Kind> JsonSchema for NamedOrMany<K> {
    fn schema_name() -> Cow<'static, str> {
        format!("named_{}_or_list", K::KIND).into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let one = Spec::<K>::json_schema(g);
        let named = json_schema!({ "anyOf": [{ "type": "string" }, one] });
        json_schema!({ "anyOf": [{ "type": "string" }, one, { "type": "array", "items": named, "minItems": 1 }] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Stands in the schema for a data set: a source with the shared keys. The reference puts its definition there.
pub(crate) struct DatasetSection;

impl JsonSchema for DatasetSection {
    fn schema_name() -> Cow<'static, str> {
        "dataset_section".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "$ref": "#/$defs/dataset_section" })
    }

    fn inline_schema() -> bool {
        true
    }
}
