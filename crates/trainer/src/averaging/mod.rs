//! Ways of averaging weights, one file each: the share of the present weights as a function of progress.

mod ema;
mod swa;

pub use ema::{Ema, EmaOptions};
pub use swa::{Swa, SwaOptions};

use transplant_core::{Averaging, Plugins};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Averaging, Ema>();
    p.add::<dyn Averaging, Swa>();
}
