//! `image_folder`: a folder of pictures in folders, one a class, in any of the common formats and of any size; the layout of
//! torchvision's `ImageFolder`. Use it for pictures of one's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{BuildCx, Component, Dataset, Filter, Fit, Frame, Invalid, Plugins, Result, Roles, key_without};

use super::chosen_classes::{check_classes, chosen_classes};
use super::damaged::Damaged;
use super::folder::{check_folder, one_path};
use super::picture_tree::{File, Part, scan};
use super::pictures::{Picture, PictureSet, Pictures};
use crate::findings::{Naming, class_findings};

/// Pictures of any size in a folder, one folder inside it for each class.
///
/// Either `folder/<class>/...`, or `folder/train/<class>/...` with `validation` (or `val`, `valid`, `dev`) and `test` (or
/// `testing`) beside `train` (or `training`); names in another case are read so where the folders hold the same classes.
/// Without `test` all rows are one pool, which the pipeline divides. Pictures are files that end in jpg, jpeg, jpe, jfif, pjpeg,
/// png, apng, gif, webp, bmp, dib, tif, tiff, pgm, ppm or pnm, at any depth below their class; files with other endings are
/// counted and told, hidden ones are passed over. Classes are sorted by name, rows by path.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder; a relative path starts at the pipeline file.
    pub folder: PathBuf,
    /// Rows of pixels that each picture is brought to.
    pub height: usize,
    /// Columns of pixels that each picture is brought to.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    #[serde(default = "channels")]
    pub channels: usize,
    /// What is done with pictures of other proportions.
    #[serde(default)]
    pub fit: Fit,
    /// How pixels are computed from those of the picture.
    #[serde(default)]
    pub filter: Filter,
    /// Red, green and blue behind transparent pixels and around padded pictures, 0 to 255.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// Names and order of the classes, each a folder; other folders are left out. Without it all of them, sorted by name. Of two
    /// classes the second is the one that is looked for, as in `average_precision`.
    #[serde(default)]
    pub classes: Option<Vec<String>>,
    /// What is done about pictures that cannot be decoded.
    #[serde(default)]
    pub damaged: Damaged,
    /// Megabytes of decoded pictures that stay in memory; others are decoded again for each batch.
    #[serde(default = "memory_mb")]
    pub memory_mb: u64,
    /// Where the pictures come from and under which terms they may be used.
    #[serde(default)]
    pub licence: Option<String>,
}

/// Options that say what pictures look like or how they are kept, not which there are.
pub(super) const LOOKS: [&str; 8] =
    ["height", "width", "channels", "fit", "filter", "background", "memory_mb", "licence"];

pub(super) fn channels() -> usize {
    3
}

pub(super) fn white() -> [u8; 3] {
    [255; 3]
}

pub(super) fn memory_mb() -> u64 {
    1024
}

impl Options {
    fn frame(&self) -> Frame {
        let Self { height, width, channels, fit, filter, background, .. } = *self;
        Frame { height, width, channels, fit, filter, background }
    }
}

/// A folder of pictures.
#[derive(Debug)]
pub struct ImageFolder;

impl ImageFolder {
    /// Finds the pictures and decodes each once; `folder` is taken as it stands.
    ///
    /// # Errors
    /// When the folder cannot be read, has another layout, a class is empty or has no folder, or pictures are damaged and must
    /// not be.
    pub fn load(o: Options) -> Result<Pictures> {
        let (frame, name) = (o.frame(), o.folder.display().to_string());
        frame.check()?;
        check_classes(o.classes.as_deref())?;
        let found = scan(&o.folder, o.classes.as_deref())?;
        let (classes, left_out) = chosen_classes(&found.classes, o.classes.as_deref())?;
        let number: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let labels: Vec<_> = found.files.iter().map(|f| number.get(f.class.as_str()).copied()).collect();
        let mut findings = found.findings;
        findings.extend(left_out);
        findings.extend(class_findings(&classes, &labels, Naming::Folders));
        let mut roles = Roles::default();
        for (row, file) in (0..).zip(&found.files) {
            match file.part {
                Part::Pool => roles.pool.push(row),
                Part::Validation => roles.validation.push(row),
                Part::Test => roles.test.push(row),
            }
        }
        let pictures = Pictures::open(PictureSet {
            name,
            frame,
            pictures: found.files.into_iter().map(picture).collect(),
            labels,
            classes,
            roles,
            groups: None,
            group_names: Vec::new(),
            domain: None,
            licence: o.licence,
            damaged: Some(o.damaged),
            memory_mb: o.memory_mb,
        })?;
        Ok(pictures.with_findings(findings))
    }
}

/// A picture, called by its path below the folder.
fn picture(file: File) -> Picture {
    let name = String::from_utf8_lossy(&file.key).into_owned();
    Picture::file(file.path).called(name)
}

impl Component<dyn Dataset> for ImageFolder {
    const TYPE: &'static str = "image_folder";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check_folder(&o.folder)?;
        check_classes(o.classes.as_deref())?;
        o.frame().check()
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        key_without(Self::TYPE, &Options { folder: one_path(&o.folder, base), ..o.clone() }, &LOOKS)
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        let folder = cx.path(&o.folder);
        Ok(Box::new(Self::load(Options { folder, ..o })?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;
    use transplant_core::{Field, FindingKind};

    /// A folder with these files, each a picture of one pixel of its own grey. The format is told by content.
    fn folder(files: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (i, file) in files.iter().enumerate() {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, [b"P5 1 1 255\n".as_slice(), &[i as u8]].concat()).unwrap();
        }
        folder
    }

    fn options(folder: &Path) -> Options {
        let json = serde_json::json!({"folder": folder, "height": 1, "width": 1, "channels": 1});
        serde_json::from_value(json).unwrap()
    }

    fn load(folder: &TempDir) -> Result<Pictures> {
        ImageFolder::load(options(folder.path()))
    }

    fn says(folder: &TempDir) -> String {
        load(folder).unwrap_err().to_string()
    }

    fn labels(pictures: &Pictures) -> Vec<u32> {
        pictures.classes_of("class").unwrap().into_iter().flatten().collect()
    }

    #[test]
    fn classes_are_sorted_by_name_and_rows_by_path() -> Result<()> {
        let files =
            ["b/z.pgm", "b/deep/er/a.PNG", "a/b.jpeg", "b/deep.gif", ".git/x/y.png", "a/.hidden.png", "a/notes.txt"];
        let pictures = load(&folder(&files))?;
        let x = pictures.batch(&[0, 1, 2, 3])?.inputs.get("hidden")?.flatten_all()?.to_vec1::<f32>()?;
        // Bytewise `b/deep.gif` comes before `b/deep/er/a.PNG`, since `.` comes before `/`.
        assert_eq!(x, [2., 3., 1., 0.].map(|v| v / 255.));
        assert_eq!(labels(&pictures), [0, 1, 1, 1]);
        assert_eq!(*pictures.roles(), Roles { pool: vec![0, 1, 2, 3], ..Roles::default() });
        Ok(())
    }

    #[test]
    fn parts_are_kept() -> Result<()> {
        for validation in ["validation", "val", "valid"] {
            let named = format!("{validation}/b/1.png");
            let other = format!("{validation}/a/1.png");
            let pictures =
                load(&folder(&["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", &named, &other]))?;
            assert_eq!(*pictures.roles(), Roles { test: vec![0, 1], pool: vec![2, 3], validation: vec![4, 5] });
            assert_eq!(labels(&pictures), [0, 1, 0, 1, 0, 1]);
        }
        let pictures = load(&folder(&["train/a/1.png", "train/b/1.png"]))?;
        assert_eq!((pictures.roles().pool.len(), pictures.roles().test.len()), (2, 0));
        Ok(())
    }

    #[test]
    fn one_folder_has_one_key() {
        let there = folder(&["a/1.png", "b/1.png"]);
        let key = |path: &str, width: usize| {
            let o = Options { width, licence: (width > 9).then(|| "mine".to_owned()), ..options(Path::new(path)) };
            ImageFolder::rows_key(&o, there.path())
        };
        let whole = there.path().display().to_string();
        assert!(key("./", 8) == key(&whole, 16) && key("a/..", 8) == key(&whole, 8) && key("a", 8) != key(&whole, 8));
        let skipping = Options { damaged: Damaged::Skip, ..options(there.path()) };
        assert_ne!(ImageFolder::rows_key(&skipping, there.path()), key(&whole, 8), "other rows are left out");
    }

    #[test]
    fn a_layout_that_is_none_is_told() {
        let said = says(&folder(&["train/a/1.png", "val/a/1.png", "valid/a/1.png"]));
        assert!(said.contains("both `val` and `valid`"), "{said}");
        let said = says(&folder(&["train/a/1.png", "cats/1.png"]));
        assert!(said.contains("`cats` is beside `train`"), "{said}");
        let said = says(&folder(&["val/a/1.png", "test/a/1.png"]));
        assert!(said.contains("but no `train`"), "{said}");
        let said = says(&folder(&["1.png", "2.png"]));
        assert!(said.contains("holds no class") && said.contains("2 pictures lie in it directly"), "{said}");
        assert!(says(&folder(&[])).contains("holds no class"));
        let e = ImageFolder::load(options(Path::new("no such folder"))).unwrap_err();
        assert!(e.to_string().starts_with("no such folder: "), "{e}");
    }

    fn names(pictures: &Pictures) -> Vec<String> {
        let Field::Class { names } = &pictures.targets()["class"] else { panic!() };
        names.clone()
    }

    fn kinds(pictures: &Pictures) -> Vec<FindingKind> {
        pictures.findings().iter().map(|f| f.kind).collect()
    }

    #[test]
    fn parts_may_lack_classes() -> Result<()> {
        let pictures =
            load(&folder(&["train/a/1.png", "train/b/1.png", "train/b/2.png", "test/b/1.png", "test/c/1.png"]))?;
        assert_eq!(names(&pictures), ["a", "b", "c"]);
        assert_eq!(labels(&pictures), [1, 2, 0, 1, 1]);
        let tree = folder(&["train/a/1.png", "train/b/1.png", "test/b/1.png"]);
        fs::create_dir(tree.path().join("test/a")).unwrap();
        assert_eq!(names(&load(&tree)?), ["a", "b"]);
        Ok(())
    }

    #[test]
    fn parts_are_known_in_any_case() -> Result<()> {
        for (train, validation, test) in
            [("Train", "Val", "Test"), ("training", "dev", "testing"), ("TRAIN", "valid", "test")]
        {
            let in_both = |part: &str| [format!("{part}/a/1.png"), format!("{part}/b/1.png")];
            let files = [in_both(train), in_both(validation), in_both(test)].concat();
            let pictures = load(&folder(&files.iter().map(String::as_str).collect::<Vec<_>>()))?;
            assert_eq!(names(&pictures), ["a", "b"]);
            let Roles { pool, validation, test } = pictures.roles();
            assert_eq!([pool.len(), validation.len(), test.len()], [2; 3]);
            assert!(kinds(&pictures).iter().all(|k| *k == FindingKind::SingleRowClass), "{:?}", pictures.findings());
        }
        Ok(())
    }

    #[test]
    fn folders_named_like_parts_are_told() -> Result<()> {
        let pictures = load(&folder(&["Train/1.png", "Train/2.png", "Test/1.png", "Test/2.png"]))?;
        assert_eq!(
            (names(&pictures), kinds(&pictures)),
            (vec!["Test".into(), "Train".into()], vec![FindingKind::SplitAsClass])
        );
        let files = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "Test/a/1.png", "Test/b/2.png"];
        let pictures = load(&folder(&files))?;
        assert_eq!(kinds(&pictures), [FindingKind::SplitAsClass]);
        let said = pictures.findings()[0].message.clone();
        assert!(
            said.contains("`Test` is taken for a class, and holds folders named like other classes: `a`, `b`"),
            "{said}"
        );
        Ok(())
    }

    #[test]
    fn train_may_be_a_class() -> Result<()> {
        let pictures = load(&folder(&["bus/1.png", "bus/2.png", "train/1.png", "train/2.png"]))?;
        assert_eq!((names(&pictures), kinds(&pictures)), (vec!["bus".into(), "train".into()], vec![]));
        let tree = folder(&["train/red/1.png", "train/2.png", "bus/1.png", "bus/2.png"]);
        assert!(says(&tree).contains("`classes` says that they are classes"), "{}", says(&tree));
        let o = Options { classes: Some(vec!["train".into(), "bus".into()]), ..options(tree.path()) };
        assert_eq!(names(&ImageFolder::load(o)?), ["train", "bus"]);
        Ok(())
    }

    #[test]
    fn classes_choose_and_order_folders() -> Result<()> {
        let tree = folder(&["ok/1.png", "ok/2.png", "bad/1.png", "bad/2.png", "empty/notes.txt", "rest/1.png"]);
        let with = |classes: &[&str]| {
            let classes = Some(classes.iter().map(|c| (*c).to_owned()).collect());
            ImageFolder::load(Options { classes, ..options(tree.path()) })
        };
        let pictures = with(&["ok", "bad"])?;
        assert_eq!((names(&pictures), labels(&pictures)), (vec!["ok".into(), "bad".into()], vec![1, 1, 0, 0]));
        assert_eq!(kinds(&pictures), [FindingKind::UnusedClasses]);
        assert_eq!(pictures.findings()[0].message, "folders that `classes` leaves out: `empty`, `rest`");
        let e = with(&["ok", "badd"]).unwrap_err().to_string();
        assert_eq!(e, "classes: names `badd`, and there is no folder of that name (did you mean `bad`?)");
        assert!(with(&[]).unwrap_err().to_string().starts_with("classes: must not be empty"));
        assert!(with(&["ok", "ok"]).unwrap_err().to_string().starts_with("classes: names `ok` twice"));
        Ok(())
    }

    #[test]
    fn files_that_are_not_read_are_counted() -> Result<()> {
        let tree = folder(&[
            "a/1.JPG",
            "a/2.jfif",
            "a/3.heic",
            "b/1.jpe",
            "b/2.pjpeg",
            "b/3",
            "b/4.txt",
            "b/Thumbs.db",
            "b/.x.png",
        ]);
        fs::write(tree.path().join("a/3.heic"), b"\0\0\0\x18ftypheic").unwrap();
        fs::write(tree.path().join("b/4.txt"), b"notes").unwrap();
        let pictures = load(&tree)?;
        assert_eq!((pictures.rows(), kinds(&pictures)), (4, vec![FindingKind::UnusedFiles; 2]));
        let hidden = "1 picture in folders of classes is hidden, and not read: a name that does not begin with a point makes them rows";
        assert_eq!(pictures.findings()[1].message, hidden);
        assert_eq!(
            pictures.findings()[0].message,
            "3 of 7 files in folders of classes are not read, since their names do not end as those of pictures: 1 without an ending, \
             1 in `.heic`, 1 in `.txt`; 1 picture by content: an ending such as `.png` makes them rows"
        );
        let tree = folder(&["1.png", "a/1.png", "a/2.png", "b/1.png", "b/2.png"]);
        let said = load(&tree)?.findings()[0].message.clone();
        assert!(said.starts_with("1 picture beside the folders of classes, in "), "{said}");
        Ok(())
    }

    #[test]
    fn classes_one_folder_deeper_are_told() -> Result<()> {
        let tree =
            folder(&["textures/a/1.png", "textures/a/2.png", "textures/b/1.png", "textures/b/2.png", "__MACOSX/x.png"]);
        let found = &load(&tree)?.findings()[0];
        assert_eq!(found.kind, FindingKind::OneClass);
        let said = &found.message;
        assert!(said.contains("the folders in it look like classes (`a`, `b`): set `folder` to "), "{said}");
        assert!(said.ends_with("/textures"), "{said}");
        Ok(())
    }

    #[test]
    fn copies_in_two_classes_are_told() -> Result<()> {
        let tree = folder(&["a/1.png", "a/2.png", "b/1.png", "b/2.png"]);
        fs::copy(tree.path().join("a/1.png"), tree.path().join("b/2.png")).unwrap();
        let pictures = load(&tree)?;
        assert_eq!(kinds(&pictures), [FindingKind::ContradictingLabels]);
        let said = pictures.findings()[0].message.clone();
        assert!(
            said.starts_with("2 rows equal") && said.contains("a/1.png is `a`, ") && said.contains("b/2.png is `b`"),
            "{said}"
        );
        Ok(())
    }

    #[test]
    fn an_empty_class_is_told() {
        let tree = folder(&["a/1.png", "b/notes.txt"]);
        assert!(says(&tree).contains("/b: holds no picture") && says(&tree).contains("1 in `.txt`"), "{}", says(&tree));
        let tree = folder(&["a/1.png"]);
        fs::create_dir(tree.path().join("c")).unwrap();
        assert!(says(&tree).contains("/c: holds no picture"), "{}", says(&tree));
    }

    #[test]
    fn what_is_no_picture_is_told() {
        let tree = folder(&["a/1.png", "a/x.png/2.png"]);
        assert!(says(&tree).contains("x.png: is a folder with the name of a picture"), "{}", says(&tree));

        let tree = folder(&["a/1.png", "a/2.png"]);
        fs::write(tree.path().join("a/2.png"), "").unwrap();
        let said = says(&tree);
        assert!(said.contains("1 of 2 pictures") && said.contains("2.png: is empty"), "{said}");
        let skipping = Options { damaged: Damaged::Skip, ..options(tree.path()) };
        assert_eq!(ImageFolder::load(skipping).unwrap().roles().pool, [0]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let (tree, other) = (folder(&["a/1.png"]), folder(&["2.png"]));
        symlink(other.path(), tree.path().join("b")).unwrap();
        assert_eq!(labels(&load(&tree).unwrap()), [0, 1]);
        symlink(tree.path(), tree.path().join("a/circle")).unwrap();
        let said = says(&tree);
        assert!(said.contains("a/circle: ") && said.contains("a link to a folder that it lies in"), "{said}");

        let tree = folder(&["a/1.png"]);
        symlink("nowhere", tree.path().join("a/2.png")).unwrap();
        assert!(says(&tree).contains("a/2.png: "), "{}", says(&tree));
    }

    #[cfg(unix)]
    #[test]
    fn what_may_not_be_read_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let tree = folder(&["a/1.png", "a/2.png", "b/1.png"]);
        let (file, class) = (tree.path().join("a/2.png"), tree.path().join("b"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read all the same: then there is nothing to see.
        if fs::read(&file).is_err() {
            assert!(says(&tree).contains("a/2.png: "), "{}", says(&tree));
            fs::set_permissions(&class, fs::Permissions::from_mode(0o000)).unwrap();
            assert!(says(&tree).contains("/b: "), "{}", says(&tree));
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&class, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn options_have_their_defaults_and_are_checked() {
        let o = options(Path::new("pictures"));
        assert_eq!((o.fit, o.filter, o.background, o.memory_mb), (Fit::Crop, Filter::Bilinear, [255; 3], 1024));
        let said = |o: Options| ImageFolder::check(&o, &Plugins::new()).unwrap_err().to_string();
        assert!(said(Options { folder: PathBuf::new(), ..o.clone() }).starts_with("folder: "));
        assert!(said(Options { channels: 4, ..o }).starts_with("channels: "));
    }
}
