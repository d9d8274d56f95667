//! Files of the catalogue: from packages, from the hub, and in the store.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod hub;
mod packages;
mod store;
