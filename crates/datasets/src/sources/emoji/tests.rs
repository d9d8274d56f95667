//! A package of three pictures, read as it is and unpacked; and the real ones, where they may be fetched.

use std::fs::{self, File};

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use transplant_codecs::picture::encode_png;

use super::*;

/// `emoji.json` with a cook, a clown, an emoji that one vendor lacks, a component, and the cook's variant.
const NAMES: &str = r#"[
  {"unified": "1F469-200D-1F373", "image": "a.png", "category": "People", "subcategory": "role", "sort_order": 7,
   "has_img_apple": true, "has_img_google": true, "has_img_twitter": true, "has_img_facebook": true},
  {"unified": "1F921", "image": "b.png", "category": "Faces", "subcategory": "costume",
   "has_img_apple": true, "has_img_google": true, "has_img_twitter": true, "has_img_facebook": true},
  {"unified": "1FADF", "image": "none.png", "category": "Faces", "subcategory": "costume",
   "has_img_apple": true, "has_img_google": true, "has_img_twitter": true, "has_img_facebook": false},
  {"unified": "1F3FB", "image": "none.png", "category": "Component", "subcategory": "skin-tone",
   "has_img_apple": true, "has_img_google": true, "has_img_twitter": true, "has_img_facebook": true},
  {"unified": "1F468-200D-1F373", "image": "c.png", "category": "People", "subcategory": "role",
   "has_img_apple": true, "has_img_google": true, "has_img_twitter": true, "has_img_facebook": true}
]"#;

fn drawing(grey: u8) -> Vec<u8> {
    // The left half is transparent.
    let pixels = [[grey, grey, grey, 0], [grey, grey, grey, 255]].repeat(2);
    encode_png(pixels.as_flattened(), [2, 2, 4]).unwrap()
}

/// A folder with `emoji.json`, `google.tgz` and, unpacked, `package/img/google/64`.
fn world() -> TempDir {
    let world = tempfile::tempdir().unwrap();
    fs::write(world.path().join("emoji.json"), NAMES).unwrap();
    let inner = "package/img/google/64";
    fs::create_dir_all(world.path().join(inner)).unwrap();
    let gz = GzEncoder::new(File::create(world.path().join("google.tgz")).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, grey) in [("c.png", 102), ("a.png", 0), ("b.png", 51)] {
        let (path, content) = (format!("{inner}/{name}"), drawing(grey));
        fs::write(world.path().join(&path), &content).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
    world
}

fn options(vendor: &str) -> Options {
    serde_json::from_value(serde_json::json!({"vendor": vendor, "height": 1, "width": 2})).unwrap()
}

fn load(world: &TempDir, o: &Options, pictures: &str) -> Result<Pictures> {
    Emoji::load(o, &world.path().join("emoji.json"), &[world.path().join(pictures)])
}

#[test]
fn a_package_gives_the_same_rows_packed_and_unpacked() -> Result<()> {
    let world = world();
    let packed = load(&world, &options("google"), "google.tgz")?;
    let labels: Vec<_> = packed.classes_of("class")?.into_iter().flatten().collect();
    // `Faces` comes before `People`; both cooks are one group.
    assert_eq!((labels, packed.groups()), (vec![1, 0, 1], Some(&[1, 0, 1][..])));
    assert_eq!(*packed.roles(), Roles { pool: vec![0, 1, 2], ..Roles::default() });
    let x = packed.batch(&[2, 0])?.inputs.get("hidden")?.flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(x, [[1., 0.4].repeat(3), [1., 0.].repeat(3)].concat());
    for folder in ["", "package"] {
        assert_eq!(load(&world, &options("google"), folder)?.content_hash(), packed.content_hash(), "{folder}");
    }
    assert!(packed.licence().unwrap().contains("Apache-2.0"));
    Ok(())
}

#[test]
fn drawings_of_several_vendors_stay_in_the_groups_of_their_emoji() -> Result<()> {
    let world = world();
    let apple = world.path().join("package/img/apple/64");
    fs::create_dir_all(&apple).unwrap();
    for (name, value) in [("a.png", 253), ("b.png", 254), ("c.png", 255)] {
        fs::write(apple.join(name), drawing(value)).unwrap();
    }
    let o = Options { also: vec![EmojiVendor::Apple], ..options("google") };
    let names = world.path().join("emoji.json");
    let both = Emoji::load(&o, &names, &[world.path().join("google.tgz"), world.path().to_owned()])?;
    let labels: Vec<_> = both.classes_of("class")?.into_iter().flatten().collect();
    assert_eq!((labels, both.groups()), (vec![1, 0, 1, 1, 0, 1], Some(&[1, 0, 1, 1, 0, 1][..])));
    assert_eq!(both.roles().pool, [0, 1, 2, 3, 4, 5]);
    let x = both.batch(&[2, 5])?.inputs.get("hidden")?.flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(x, [[1., 0.4].repeat(3), [1., 1.].repeat(3)].concat());
    // The vendors' order changes the rows' numbers, not which emoji a fold tests.
    let turned = Options { vendor: EmojiVendor::Apple, also: vec![EmojiVendor::Google], ..o.clone() };
    let key = |o: &Options| Emoji::rows_key(o, world.path());
    assert!(key(&turned) == key(&o) && key(&options("google")) != key(&o));
    let turned = Emoji::load(&turned, &names, &[world.path().to_owned(), world.path().join("google.tgz")])?;
    let tested = |pictures: Pictures| -> Result<std::collections::BTreeSet<u64>> {
        let groups = pictures.groups().map(<[u64]>::to_vec).unwrap_or_default();
        let divided = crate::Division::Share(0.4).of(&(std::sync::Arc::new(pictures) as _), None)?;
        Ok(divided.roles().test.iter().map(|row| groups[*row as usize]).collect())
    };
    assert_eq!(
        tested(turned)?,
        tested(Emoji::load(&o, &names, &[world.path().join("google.tgz"), world.path().to_owned()])?)?
    );
    assert!(both.licence().is_some_and(|l| l.contains("Google") && l.contains("Apple")), "{:?}", both.licence());
    let said = load(&world, &o, "google.tgz").unwrap_err().to_string();
    assert!(said.contains("emoji of google, apple: 1 packages for 2 vendors"), "{said}");
    Ok(())
}

#[test]
fn emoji_of_one_drawing_are_one_group() -> Result<()> {
    let world = world();
    // The clown is drawn as the first cook is: all three stand together.
    let folder = world.path().join("package/img/google/64");
    fs::copy(folder.join("a.png"), folder.join("b.png")).unwrap();
    let emoji = load(&world, &options("google"), "package")?;
    assert_eq!(emoji.groups(), Some(&[0, 0, 0][..]));
    assert_eq!(emoji.row_name(1).as_deref(), Some("google/b.png"));
    Ok(())
}

#[test]
fn what_is_missing_is_named() {
    let world = world();
    let said = load(&world, &options("apple"), "google.tgz").unwrap_err().to_string();
    assert!(said.contains("google.tgz: lacks `package/img/apple/64/a.png` and 2 more"), "{said}");
    let said = load(&world, &options("apple"), "").unwrap_err().to_string();
    assert!(said.contains("holds no folder `img/apple/64`"), "{said}");
    let said = load(&world, &options("apple"), "nothing.tgz").unwrap_err().to_string();
    assert!(said.contains("nothing.tgz: "), "{said}");
    fs::remove_file(world.path().join("package/img/google/64/b.png")).unwrap();
    let said = load(&world, &options("google"), "package").unwrap_err().to_string();
    assert!(said.contains("1 of 3 pictures cannot be decoded") && said.contains("b.png: "), "{said}");
    let archive = world.path().join("google.tgz");
    fs::write(&archive, &fs::read(&archive).unwrap()[..100]).unwrap();
    assert!(matches!(load(&world, &options("google"), "google.tgz"), Err(Error::Io { path, .. }) if path == archive));
}

#[test]
fn other_names_are_refused() {
    let world = world();
    let says = |text: &str| {
        fs::write(world.path().join("emoji.json"), text).unwrap();
        load(&world, &options("google"), "google.tgz").unwrap_err().to_string()
    };
    assert!(says("{}").contains("emoji.json: is not `emoji.json` of emoji-datasource"));
    assert!(says("[]").contains("holds no emoji"));
    assert!(says(&NAMES.replace("1F921", "clown")).contains("emoji.json, row 1: `clown` are no code points"));
    assert!(says(&NAMES.replace("b.png", "../b.png")).contains("row 1: `../b.png` is no name of a picture"));
}

#[test]
fn options_have_their_defaults_and_are_checked() {
    let o: Options = serde_json::from_value(serde_json::json!({"vendor": "twitter"})).unwrap();
    assert_eq!((o.height, o.width, o.channels, o.filter, o.background), (64, 64, 3, Filter::Bicubic, [255; 3]));
    assert_eq!((o.target, o.group, o.names.is_none()), (EmojiTarget::Category, EmojiGroup::Base, true));
    let said = |o: Options| Emoji::check(&o, &Plugins::new()).unwrap_err().to_string();
    let (target, group) = (EmojiTarget::Subcategory, EmojiGroup::Subcategory);
    assert!(said(Options { target, group, ..o.clone() }).starts_with("group: "));
    assert!(said(Options { channels: 2, ..o.clone() }).starts_with("channels: "));
    let also = vec![EmojiVendor::Apple, EmojiVendor::Twitter];
    assert_eq!(said(Options { also, ..o }), "also.1: `twitter` is named twice");
}

/// From the network: `cargo xtask test -- --ignored four_vendors`.
#[test]
#[ignore = "fetches 340 MB"]
fn the_four_vendors_have_the_same_1852_emoji() -> Result<()> {
    let plugins = Plugins::new();
    let cx = BuildCx { plugins: &plugins, base: Path::new(""), seeds: transplant_core::Seeds::new(0) };
    // Of the 1,404 groups those are joined whose flags are one file: of Norway, Svalbard and Bouvet Island, say.
    for (vendor, count) in [("apple", 1396), ("google", 1398), ("twitter", 1399), ("facebook", 1398)] {
        let o: Options = serde_json::from_value(serde_json::json!({"vendor": vendor})).unwrap();
        let emoji = Emoji::build(o, &cx)?;
        assert_eq!(emoji.roles().pool.len(), 1852);
        let groups: BTreeSet<&u64> = emoji.groups().unwrap().iter().collect();
        let classes: BTreeSet<Option<u32>> = emoji.classes_of("class")?.into_iter().collect();
        assert_eq!((groups.len(), classes.len()), (count, 9), "{vendor}");
        assert_eq!(emoji.batch(&[0, 1851])?.inputs.get("hidden")?.dims(), [2, 3, 64, 64]);
    }
    Ok(())
}
