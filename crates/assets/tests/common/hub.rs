//! A server that answers as the model hub does. The tests of the whole program use it, too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// The only commit.
pub(crate) const COMMIT: &str = "0123456789abcdef";

/// A hub with one repository, `us/thing`, for as long as the process lives. Files are given whole or in part; other paths are
/// not found there.
pub(crate) fn serve(files: BTreeMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|l| !l.is_empty()).collect();
            let name = head[0].split(' ').nth(1).and_then(|path| path.strip_prefix("/us/thing/resolve/main/"));
            let Some((name, all)) = name.and_then(|name| Some((name, files.get(name)?))) else {
                let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                continue;
            };
            let range = head.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let range = range.and_then(|r| r.split_once('-').map(|(a, b)| (a.parse(), b.parse::<usize>())));
            let (from, to) = match range {
                Some((Ok(from), to)) => (from, to.unwrap_or(all.len() - 1).min(all.len() - 1)),
                _ => (0, all.len() - 1),
            };
            let body = &all[from..=to];
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
                 Content-Range: bytes {from}-{to}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                name.replace('/', "-"),
                all.len(),
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}
