//! Pictures of a few pixels, kept, decoded again, damaged and copied.

use super::*;
use crate::CLASS;
use transplant_core::{Filter, Fit, HIDDEN};

/// A picture of one grey, in the plainest format there is.
fn grey(value: u8) -> Vec<u8> {
    [b"P5 2 1 255\n".as_slice(), &[value; 2]].concat()
}

/// Six pictures, of which those named in `broken` are none.
fn set(broken: &[u64]) -> PictureSet {
    let content = |row: u64| if broken.contains(&row) { b"P5 2 1 255\n".to_vec() } else { grey(row as u8 * 51) };
    PictureSet {
        name: "six".into(),
        frame: Frame { height: 1, width: 2, channels: 3, fit: Fit::Crop, filter: Filter::Bilinear, background: [0; 3] },
        pictures: (0..6).map(|row| Picture::bytes(format!("picture {row}"), content(row))).collect(),
        labels: vec![Some(0), Some(1), Some(0), None, Some(1), Some(1)],
        classes: vec!["a".into(), "b".into()],
        roles: Roles { pool: vec![0, 1, 2, 3], validation: vec![4], test: vec![5] },
        groups: None,
        group_names: Vec::new(),
        domain: None,
        licence: Some("CC0".into()),
        damaged: None,
        memory_mb: 1,
    }
}

fn values(pictures: &Pictures, rows: &[u64]) -> Vec<f32> {
    pictures.batch(rows).unwrap().inputs.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn rows_are_the_same_whether_kept_or_decoded_again() -> Result<()> {
    let kept = Pictures::open(set(&[]))?;
    let batch = kept.batch(&[5, 3])?;
    assert_eq!(batch.inputs.get(HIDDEN)?.dims(), [2, 3, 1, 2]);
    assert_eq!(batch.target(CLASS)?.values.to_vec1::<u32>()?, [1, 0]);
    assert_eq!(batch.target(CLASS)?.present.as_ref().unwrap().to_vec1::<f32>()?, [1., 0.]);
    assert_eq!(values(&kept, &[5, 3]), [[1.; 6], [0.6; 6]].concat());
    let again = Pictures::open(PictureSet { memory_mb: 0, ..set(&[]) })?;
    assert_eq!((kept.kept.len(), again.kept.len()), (36, 0));
    assert_eq!(values(&again, &[5, 3]), values(&kept, &[5, 3]));
    assert_eq!(again.content_hash(), kept.content_hash());
    assert_eq!((kept.frame(), kept.licence()), (Some(set(&[]).frame), Some("CC0".into())));
    assert!(kept.batch(&[6]).unwrap_err().to_string().contains("six, row 6"));
    Ok(())
}

#[test]
fn fingerprints_are_those_of_what_was_decoded() -> Result<()> {
    // Row 5 is row 3 in another format, and everything is seen in another size, too.
    let ppm = [b"P6 2 1 255\n".as_slice(), &[153; 6]].concat();
    let mut pictures = set(&[1]).pictures;
    pictures[5] = Picture::bytes("picture 5", ppm);
    let of = |frame: Frame, memory_mb| {
        let damaged = Some(Damaged::Skip);
        Pictures::open(PictureSet { pictures: pictures.clone(), frame, damaged, memory_mb, ..set(&[1]) })
    };
    let (kept, again) = (of(set(&[]).frame, 1)?, of(set(&[]).frame, 0)?);
    let print = |p: &Pictures, row| p.fingerprint(row);
    assert_eq!(print(&kept, 5), print(&kept, 3));
    assert_ne!(print(&kept, 3), print(&kept, 4));
    assert_eq!((print(&kept, 1), print(&kept, 6)), (None, None));
    let turned = of(Frame { height: 2, width: 1, ..set(&[]).frame }, 1)?;
    for row in [0, 2, 3, 4, 5] {
        assert_eq!(print(&again, row), print(&kept, row));
        assert_ne!(print(&turned, row), print(&kept, row));
        assert_eq!(turned.file_hash(row), kept.file_hash(row));
    }
    assert_ne!(kept.file_hash(3), kept.file_hash(5), "the same picture in two formats");
    assert_eq!((kept.file_hash(1), kept.file_hash(6)), (None, None));
    Ok(())
}

#[test]
fn damaged_pictures_are_refused_with_their_names() {
    let said = Pictures::open(set(&[1])).unwrap_err().to_string();
    assert!(said.starts_with("six: 1 of 6 pictures cannot be decoded:\n  picture 1: "), "{said}");
    assert!(!said.contains("more"), "{said}");
    let said = Pictures::open(set(&[0, 1, 2, 3, 4, 5])).unwrap_err().to_string();
    let said_with = Pictures::open(PictureSet { damaged: Some(Damaged::Refuse), ..set(&[1]) }).unwrap_err().to_string();
    assert!(said_with.ends_with("\n  `damaged = \"skip\"` leaves them out"), "{said_with}");
    assert!(said.contains("picture 4") && !said.contains("picture 5") && said.ends_with("and 1 more"), "{said}");
}

#[test]
fn damaged_pictures_may_be_left_out() -> Result<()> {
    for memory_mb in [0, 1] {
        let skipping = Pictures::open(PictureSet { damaged: Some(Damaged::Skip), memory_mb, ..set(&[1, 5]) })?;
        let damaged: Vec<u64> = skipping.damaged().iter().map(|(row, _)| *row).collect();
        assert_eq!((damaged, skipping.rows()), (vec![1, 5], 6));
        let roles = Roles { pool: vec![0, 2, 3], validation: vec![4], test: vec![] };
        assert_eq!(*skipping.roles(), roles);
        assert_eq!(values(&skipping, &[2]), [0.4; 6]);
        assert!(skipping.batch(&[0, 5, 1]).unwrap_err().to_string().starts_with("picture 5: "));
    }
    Ok(())
}

#[test]
fn a_file_that_went_away_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pgm");
    std::fs::write(&path, grey(51)).unwrap();
    let mut set = PictureSet { memory_mb: 0, ..set(&[]) };
    set.pictures[0] = Picture::file(&path);
    let hash = Pictures::open(set.clone()).unwrap().content_hash();
    std::fs::write(&path, grey(52)).unwrap();
    let pictures = Pictures::open(set.clone()).unwrap();
    assert_ne!(pictures.content_hash(), hash);
    std::fs::remove_file(&path).unwrap();
    assert!(pictures.batch(&[0]).unwrap_err().to_string().starts_with(&path.display().to_string()));
    assert!(Pictures::open(set).unwrap_err().to_string().contains("a.pgm: "));
}

#[test]
fn the_hash_follows_all_that_makes_the_rows() -> Result<()> {
    let hash = |change: fn(&mut PictureSet)| {
        let mut set = set(&[]);
        change(&mut set);
        Pictures::open(set).unwrap().content_hash()
    };
    let changes: [fn(&mut PictureSet); 5] = [
        |s| s.frame.background = [1, 0, 0],
        |s| s.labels[3] = Some(1),
        |s| s.groups = Some(vec![0; 6]),
        |s| s.roles.test = vec![],
        |s| s.pictures[2] = Picture::bytes("picture 2", grey(7)),
    ];
    for change in changes {
        assert_ne!(hash(change), hash(|_| ()));
    }
    assert_eq!(hash(|s| s.pictures[2].name = "another name".into()), hash(|_| ()));
    Ok(())
}

#[test]
fn copies_join_their_groups() -> Result<()> {
    // Rows 0 and 2 of the pool are one file, and so are row 3 and the test row.
    let mut copies = set(&[]);
    copies.pictures[2] = Picture::bytes("a copy", grey(0)).called("b/copy.pgm");
    copies.pictures[5] = Picture::bytes("of a test row", grey(153));
    let alone = Pictures::open(copies.clone())?;
    assert_eq!(alone.groups(), Some(&[0, 1, 0, 3, 4, 5][..]));
    assert_eq!(alone.group_key(0), alone.file_hash(2), "without groups of its own a row goes by its file");
    assert_eq!(alone.row_name(2).as_deref(), Some("b/copy.pgm"));
    assert_eq!(alone.row_name(1), Some(hex(&alone.file_hash(1).unwrap()[..8])));
    assert_eq!(Pictures::open(set(&[]))?.groups(), None);
    copies.groups = Some(vec![2, 1, 0, 0, 3, 4]);
    copies.group_names = ["x", "y", "z", "v", "w"].map(str::to_owned).to_vec();
    let grouped = Pictures::open(copies)?;
    assert_eq!(grouped.groups(), Some(&[0, 1, 0, 0, 3, 4][..]));
    assert_eq!(grouped.group_key(2), grouped.group_key(3));
    assert_ne!(grouped.group_key(2), grouped.group_key(0), "each by the name of its own group");
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() {
    let said = |change: fn(&mut PictureSet)| {
        let mut set = set(&[]);
        change(&mut set);
        Pictures::open(set).unwrap_err().to_string()
    };
    assert_eq!(said(|s| s.labels.truncate(5)), "six: 6 pictures, but 5 labels");
    assert_eq!(said(|s| s.groups = Some(vec![0])), "six: 1 groups for 6 rows");
    assert!(said(|s| s.labels[0] = Some(2)).contains("row 0: label 2 is out of range"));
    assert!(said(|s| s.frame.width = 0).starts_with("width: "));
}
