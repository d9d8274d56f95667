//! Batches of handwritten digits for somebody else's training loop.

use std::sync::Arc;

use transplant_core::{Dataset, HIDDEN, Result, Seeds};
use transplant_datasets::{CLASS, Draw, Loader, LoaderOptions, Optdigits};

fn main() -> Result<()> {
    let digits: Arc<dyn Dataset> = Arc::new(Optdigits::load()?);
    let parts = Draw { labels_per_class: Some(5), ..Draw::default() }.parts(&digits, CLASS, Seeds::new(1))?;
    let train = Loader::train(&parts.train, LoaderOptions::new(16))?;
    for index in 0..train.batches() {
        let batch = train.batch(0, index)?;
        println!("{:?} {:?}", batch.inputs.get(HIDDEN)?.dims(), batch.target(CLASS)?.values.dims());
    }
    Ok(())
}
