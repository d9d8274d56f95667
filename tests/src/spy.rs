//! [`Spy`]: a strategy that remembers what it was asked.

use std::sync::{Arc, Mutex};

use transplant_core::{
    Boundary, Finish, HeadFit, Mixed, ModelInfo, Modules, Needs, Pass, Phase, Result, Scope, Step, Strategy, Supervise,
    Term, Update, Weighting,
};

/// What a strategy was asked so far.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    pub phases: usize,
    pub finish: usize,
    pub at: Vec<Boundary>,
}

/// Does what another strategy does, and counts the calls.
pub struct Spy {
    inner: Box<dyn Strategy>,
    pub calls: Arc<Mutex<Calls>>,
}

impl Spy {
    pub fn new(inner: Box<dyn Strategy>) -> Self {
        Self { inner, calls: Arc::default() }
    }

    pub fn calls(&self) -> Calls {
        self.calls.lock().unwrap().clone()
    }
}

impl Strategy for Spy {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }
    fn phases(&self, m: &ModelInfo) -> Result<Vec<Phase>> {
        self.calls.lock().unwrap().phases += 1;
        self.inner.phases(m)
    }
    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        self.inner.head()
    }
    fn modules(&self, m: &ModelInfo, s: &Scope) -> Result<Modules> {
        self.inner.modules(m, s)
    }
    fn terms(&self, u: &Update, s: &mut dyn Step) -> Result<Vec<Term>> {
        self.inner.terms(u, s)
    }
    fn mixes(&self) -> bool {
        self.inner.mixes()
    }
    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        self.inner.mix(stream, step)
    }
    fn supervises(&self, u: &Update) -> Supervise {
        self.inner.supervises(u)
    }
    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        self.inner.weighting()
    }
    fn at(&self, b: Boundary, p: &mut dyn Pass) -> Result<()> {
        self.calls.lock().unwrap().at.push(b);
        self.inner.at(b, p)
    }
    fn finish(&self) -> Finish {
        self.calls.lock().unwrap().finish += 1;
        self.inner.finish()
    }
}
