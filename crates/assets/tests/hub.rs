//! Files of the hub: from its cache, and from a server that answers as the hub does.

use std::collections::BTreeMap;
use std::fs;

use crate::common::hub::{COMMIT, serve};
use crate::common::{HUB, World, thing};
use transplant_assets::Role;

const WEIGHTS: &[u8] = b"weights of the hub";

#[test]
#[cfg_attr(not(feature = "hub"), ignore = "needs the cargo feature `hub`")]
fn a_file_is_downloaded_into_the_hubs_cache_and_from_there_into_the_store() {
    let mut world = World::new();
    world.clients.hub_endpoint = Some(serve(BTreeMap::from([("models/thing.pth", WEIGHTS.to_vec())])));
    let fetched = world.fetch(&thing(None, &[HUB])).unwrap();
    assert_eq!(fs::read(fetched.path(Role::Weights).unwrap()).unwrap(), WEIGHTS);
    assert!(world.notes[1].contains("18 bytes"), "{:?}", world.notes);

    // Now the hub need not be asked.
    world.clients.hub_offline = true;
    fs::remove_dir_all(world.path("assets")).unwrap();
    world.fetch(&thing(Some(WEIGHTS), &[HUB])).unwrap();
    fs::remove_dir_all(world.path("assets")).unwrap();
    world.fetch(&thing(Some(WEIGHTS), &[&HUB.replace("\"main\"", &format!("\"{COMMIT}\""))])).unwrap();
}

#[test]
#[cfg_attr(not(feature = "hub"), ignore = "needs the cargo feature `hub`")]
fn a_hub_that_is_offline_or_away_is_named() {
    let mut world = World::new();
    let asset = thing(None, &[HUB]);
    let e = world.fetch(&asset).unwrap_err().to_string();
    assert!(e.contains("\n  hub us/thing: `models/thing.pth`: request error"), "{e}");
    world.clients.hub_offline = true;
    let e = world.fetch(&asset).unwrap_err().to_string();
    assert!(e.contains("offline, and `models/thing.pth` is not in the hub's cache"), "{e}");
    assert_eq!(world.left(), [".lock"]);
}
