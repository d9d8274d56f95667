//! Whole-program tests of Transplant; see `tests/`.
