//! `emoji`: the same 1,852 emoji as four vendors draw them: four domains with one set of classes, and with groups of drawings
//! that are nearly one. Small enough for a test of domain adaptation in minutes.
//!
//! Hall, emoji-data 16.0.0, <https://github.com/iamcal/emoji-data>. The pictures belong to the vendors.

mod base;
mod names;
mod package;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use transplant_assets::{Role, Store, find};
use transplant_core::{BuildCx, Component, Dataset, Error, Fact, Filter, Fit, Frame, Invalid, Plugins, Result, Roles};

use super::folder::one_path;
use super::image_folder::{channels, memory_mb, white};
use super::pictures::{PictureSet, Pictures};

/// The same 1,852 emoji drawn by four vendors: each vendor is a domain, rows and classes are the same.
///
/// Rows are the emoji that all four vendors have, without skin tones and components, in the order of emoji-data 16.0.0. All are
/// one pool; `group` keeps drawings that are nearly the same on one side of every split, and so all vendors' drawings of an emoji.
/// Drawings whose files are the same, such as flags that several countries fly, join their groups.
/// Domains are named as the vendors: `apple`, `google`, `twitter`, `facebook`.
/// Without `names` and `pictures` the files are fetched by npm once and kept as assets. The drawings belong to the vendors: those of
/// Google are under Apache-2.0, those of Twitter under CC-BY-4.0, and those of Apple and Facebook are not free.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whose drawings are taken.
    pub vendor: EmojiVendor,
    /// Vendors whose drawings of the same emoji come after those, all of a vendor's together.
    #[serde(default)]
    pub also: Vec<EmojiVendor>,
    /// What the classes are.
    #[serde(default)]
    pub target: EmojiTarget,
    /// Which rows stay together in every split.
    #[serde(default)]
    pub group: EmojiGroup,
    /// Rows of pixels; the drawings have 64.
    #[serde(default = "side")]
    pub height: usize,
    /// Columns of pixels; the drawings have 64.
    #[serde(default = "side")]
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    #[serde(default = "channels")]
    pub channels: usize,
    /// What is done when height and width differ.
    #[serde(default)]
    pub fit: Fit,
    /// How pixels are computed from those of the drawing.
    #[serde(default = "bicubic")]
    pub filter: Filter,
    /// Red, green and blue behind the drawings, 0 to 255.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// `emoji.json` of the package `emoji-datasource`; a relative path starts at the pipeline file.
    #[serde(default)]
    pub names: Option<PathBuf>,
    /// The vendor's package as npm has it (`.tgz`), or the folder it was unpacked into; of several vendors, the folder of all.
    #[serde(default)]
    pub pictures: Option<PathBuf>,
    /// Megabytes of decoded drawings that stay in memory; others are decoded again for each batch.
    #[serde(default = "memory_mb")]
    pub memory_mb: u64,
}

/// Who drew the emoji.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmojiVendor {
    /// Apple: shaded, glossy.
    Apple,
    /// Google's Noto: flat, bright.
    Google,
    /// Twitter's Twemoji: flat, without outlines.
    Twitter,
    /// Facebook: shaded, soft.
    Facebook,
}

/// What the classes of emoji are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmojiTarget {
    /// Nine categories, such as `Food & Drink`.
    #[default]
    Category,
    /// Some hundred subcategories, such as `food-fruit`.
    Subcategory,
}

/// Which emoji stay together in every split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmojiGroup {
    /// All variants of one emoji, by gender, hair and sequence; flags by the first letter of their country.
    #[default]
    Base,
    /// All emoji of a subcategory.
    Subcategory,
}

fn side() -> usize {
    64
}

fn bicubic() -> Filter {
    Filter::Bicubic
}

impl Options {
    fn frame(&self) -> Frame {
        let Self { height, width, channels, fit, filter, background, .. } = *self;
        Frame { height, width, channels, fit, filter, background }
    }

    fn vendors(&self) -> impl Iterator<Item = EmojiVendor> {
        std::iter::once(self.vendor).chain(self.also.iter().copied())
    }
}

impl EmojiVendor {
    /// The vendor's word in names of packages and folders.
    fn word(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Google => "google",
            Self::Twitter => "twitter",
            Self::Facebook => "facebook",
        }
    }

    /// Under which terms the drawings stand.
    fn terms(self) -> &'static str {
        match self {
            Self::Apple => "the drawings are Apple's and not licensed for commercial use",
            Self::Google => "the drawings are Google's (Noto), Apache-2.0",
            Self::Twitter => "the drawings are Twitter's (Twemoji), CC-BY-4.0",
            Self::Facebook => "the drawings are Facebook's and have no clear licence",
        }
    }
}

/// Emoji of one vendor or several.
#[derive(Debug)]
pub struct Emoji;

impl Emoji {
    /// The emoji listed in `names` (`emoji.json`), drawn as in `pictures`: for each vendor a package of npm, or the folder it was
    /// unpacked into. The paths in the options are not looked at.
    ///
    /// # Errors
    /// When a file cannot be read or is another, a drawing is missing or damaged, or a vendor has no package.
    pub fn load(o: &Options, names: &Path, pictures: &[PathBuf]) -> Result<Pictures> {
        let vendors: Vec<EmojiVendor> = o.vendors().collect();
        let words: Vec<&str> = vendors.iter().map(|v| v.word()).collect();
        let name = format!("{} of {}", Self::TYPE, words.join(", "));
        if pictures.len() != vendors.len() {
            let message = format!("{} packages for {} vendors", pictures.len(), vendors.len());
            return Err(Error::data(name, None, message));
        }
        let emoji = names::read(names)?;
        let class = |e: &names::Emoji| match o.target {
            EmojiTarget::Category => e.category.clone(),
            EmojiTarget::Subcategory => e.subcategory.clone(),
        };
        let group = |e: &names::Emoji| match o.group {
            EmojiGroup::Base => e.base.clone(),
            EmojiGroup::Subcategory => e.subcategory.clone(),
        };
        let (classes, labels) = numbered(emoji.iter().map(class));
        let (group_names, groups) = numbered(emoji.iter().map(group));
        let images: Vec<&str> = emoji.iter().map(|e| e.image.as_str()).collect();
        let mut drawn = Vec::with_capacity(vendors.len() * images.len());
        for (word, place) in words.iter().zip(pictures) {
            let drawings = package::pictures(place, word, &images)?.into_iter().zip(&images);
            drawn.extend(drawings.map(|(picture, image)| picture.called(format!("{word}/{image}"))));
        }
        let terms: Vec<&str> = vendors.iter().map(|v| v.terms()).collect();
        Pictures::open(PictureSet {
            name,
            frame: o.frame(),
            labels: labels.into_iter().map(Some).collect::<Vec<_>>().repeat(vendors.len()),
            classes,
            roles: Roles { pool: (0..drawn.len() as u64).collect(), ..Roles::default() },
            groups: Some(groups.into_iter().map(u64::from).collect::<Vec<_>>().repeat(vendors.len())),
            group_names,
            domain: Some(Fact::of_words(words.iter().flat_map(|word| std::iter::repeat_n(Some(*word), emoji.len())))),
            pictures: drawn,
            licence: Some(format!("emoji-data 16.0.0, MIT; {}", terms.join("; "))),
            damaged: None,
            memory_mb: o.memory_mb,
        })
    }
}

/// The different words, sorted, and the number of each word among them.
fn numbered(words: impl Iterator<Item = String>) -> (Vec<String>, Vec<u32>) {
    let words: Vec<String> = words.collect();
    let different: Vec<String> = words.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let number = |word: &String| different.partition_point(|d| d < word) as u32;
    let numbers = words.iter().map(number).collect();
    (different, numbers)
}

/// The only file of an asset, fetched when it is not there.
fn fetched(asset: &str, role: Role) -> Result<PathBuf> {
    let fetched = Store::at(Store::default_folder()?).fetch(find(asset)?, &mut |note| tracing::info!("{note}"))?;
    let none = || Error::from(Invalid::key("asset", format!("`{asset}` has no {role}")));
    Ok(fetched.path(role).ok_or_else(none)?.to_owned())
}

impl Component<dyn Dataset> for Emoji {
    const TYPE: &'static str = "emoji";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        if (o.target, o.group) == (EmojiTarget::Subcategory, EmojiGroup::Subcategory) {
            let message = "must be `base` where subcategories are the classes: no class could be learned and tested";
            return Err(Invalid::key("group", message));
        }
        let mut seen = vec![o.vendor];
        for (i, &vendor) in o.also.iter().enumerate() {
            if seen.contains(&vendor) {
                return Err(Invalid::key(&format!("also.{i}"), format!("`{}` is named twice", vendor.word())));
            }
            seen.push(vendor);
        }
        o.frame().check()
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        let mut vendors: Vec<&str> = o.vendors().map(EmojiVendor::word).collect();
        vendors.sort_unstable();
        let paths = [&o.names, &o.pictures].map(|p| p.as_ref().map(|p| one_path(p, base)));
        json!([Self::TYPE, vendors, o.target, o.group, paths])
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        let names = match &o.names {
            Some(path) => cx.path(path),
            None => fetched("emoji_names", Role::Table)?,
        };
        let package = |vendor: EmojiVendor| match &o.pictures {
            Some(path) => Ok(cx.path(path)),
            None => fetched(&format!("emoji_{}", vendor.word()), Role::Archive),
        };
        let pictures: Vec<PathBuf> = o.vendors().map(package).collect::<Result<_>>()?;
        Ok(Box::new(Self::load(&o, &names, &pictures)?))
    }
}

#[cfg(test)]
mod tests;
