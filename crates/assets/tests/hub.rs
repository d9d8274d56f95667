//! Files of the hub: from its cache, and from a server that answers as the hub does.
#![cfg(all(unix, feature = "hub"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use common::{HUB, World, thing};
use transplant_assets::Role;

const WEIGHTS: &[u8] = b"weights of the hub";
const COMMIT: &str = "0123456789abcdef";

/// Answers requests for `WEIGHTS`, whole or in part, as the hub does, for as long as the process lives.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|l| !l.is_empty()).collect();
            let range = head.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let body = if range.as_deref() == Some("0-0") { &WEIGHTS[..1] } else { WEIGHTS };
            let (end, all) = (body.len() - 1, WEIGHTS.len());
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"abc\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes 0-{end}/{all}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).unwrap();
        }
    });
    address
}

#[test]
fn a_file_is_downloaded_into_the_hubs_cache_and_from_there_into_the_store() {
    let mut world = World::new();
    world.clients.hub_endpoint = Some(serve());
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
