//! [`Scope`]: the only way in which networks make their parameters.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use rand::Rng;
use transplant_kernels::parallel;

use crate::{Delta, Error, NormPolicy, Origin, Params, Plan, Result, Role, Seeds, Site, Stage, Use};

/// Values that a thread draws at a time.
const TOGETHER: usize = 1 << 14;

/// How a fresh weight is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All the same.
    Const(f64),
    /// Uniform in `-bound..bound`.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
}

impl Init {
    /// He et al. 2015, normal, for a layer followed by a ReLU: `std = sqrt(2 / fan)`.
    pub fn he(fan: usize) -> Self {
        Self::Normal((2.0 / fan.max(1) as f64).sqrt())
    }

    /// PyTorch's default for linear and convolution layers: uniform with bound `1 / sqrt(fan_in)`.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform(1.0 / (fan_in.max(1) as f64).sqrt())
    }
}

/// A handle to a tensor that is not learned by gradients (running statistics, a memory bank).
#[derive(Debug, Clone)]
pub struct Buffer(Var);

impl Buffer {
    /// The current values, untracked.
    pub fn get(&self) -> Tensor {
        self.0.as_tensor().detach()
    }

    /// Overwrites the values.
    ///
    /// # Errors
    /// When the shape differs.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        Ok(self.0.set(&value.detach())?)
    }
}

/// A place in [`Params`] below which a module makes its parameters, under a [`Plan`] that decides which are tracked.
#[derive(Debug, Clone)]
pub struct Scope {
    params: Params,
    plan: Arc<Plan>,
    seeds: Seeds,
    dtype: DType,
    prefix: String,
    norm: NormPolicy,
    /// What weights made here are: those of an adapter, below [`Scope::attach`].
    role: Role,
    /// Layers that the plan adapts, which were made in this scope or below it; shared with all of its clones.
    adapted: Arc<Mutex<Vec<Site>>>,
}

impl Scope {
    /// The root scope. Fresh weights come from the streams `init/<name>` of `seeds`.
    pub fn new(params: &Params, plan: Arc<Plan>, seeds: Seeds, dtype: DType) -> Self {
        let (params, prefix, norm) = (params.clone(), String::new(), NormPolicy::Batch);
        Self { params, plan, seeds, dtype, prefix, norm, role: Role::Weight, adapted: Arc::default() }
    }

    /// The scope below a name.
    #[must_use]
    pub fn pp(&self, name: &str) -> Self {
        Self { prefix: self.full(name), ..self.clone() }
    }

    /// This scope, which is that of the whole network, with the normalisation policy that the plan gives a stage. A stage
    /// whose weights are all frozen has its normalisation frozen too, unless the plan says otherwise.
    #[must_use]
    pub fn stage(&self, stage: &Stage) -> Self {
        let inside = |n: &str| n.strip_prefix(&self.full("")).is_some_and(|n| stage.holds(n));
        let weights = self.params.all().into_iter().filter(|(n, p)| p.role == Role::Weight && inside(n));
        Self { norm: self.plan.norm_of(&stage.name, weights.map(|(n, _)| n)), ..self.clone() }
    }

    /// The full name of `name` here.
    pub fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// How normalisation layers made here behave while training.
    pub fn norm_policy(&self) -> NormPolicy {
        self.norm
    }

    /// Where parameters live.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// The type of fresh weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A weight: the existing one or a fresh one drawn by `init`. Tracked when the plan trains it, otherwise a detached
    /// view of the same storage.
    ///
    /// # Errors
    /// When it exists with another shape.
    pub fn weight(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let full = self.full(name);
        let var = self.ensure(&full, shape.into(), self.role, init)?;
        Ok(match self.plan.use_of(&full) {
            Use::Frozen => var.as_tensor().detach(),
            Use::Trained { .. } => var.as_tensor().clone(),
        })
    }

    /// A buffer: the existing one, or one filled with `value`.
    ///
    /// # Errors
    /// When it exists with another shape.
    pub fn buffer(&self, name: &str, shape: impl Into<Shape>, value: f64) -> Result<Buffer> {
        self.ensure(&self.full(name), shape.into(), Role::Buffer, Init::Const(value)).map(Buffer)
    }

    /// The tensor of this name, untracked, when there is one: what was fitted, of whatever shape.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        self.params.find(&self.full(name)).map(|p| p.view())
    }

    /// The adapters that the plan attaches to the layer `kind` standing at this scope.
    ///
    /// # Errors
    /// When an adapter cannot be made.
    pub fn adapters(&self, kind: crate::SiteKind) -> Result<Vec<Box<dyn Delta>>> {
        let site = Site { name: self.prefix.clone(), kind };
        let attached = self.attach(&site)?;
        if !attached.is_empty() {
            self.adapted.lock().unwrap_or_else(PoisonError::into_inner).push(site);
        }
        Ok(attached)
    }

    /// The adapters that the plan attaches to a layer, whose parent this scope or any other of the network may be. What
    /// they make has [`Role::Adapter`].
    ///
    /// # Errors
    /// When an adapter cannot be made.
    pub fn attach(&self, site: &Site) -> Result<Vec<Box<dyn Delta>>> {
        if self.plan.merged.iter().any(|p| p.matches(&site.name)) {
            return Ok(Vec::new());
        }
        let below = Self { prefix: site.name.clone(), role: Role::Adapter, ..self.clone() };
        let here = self.plan.adapters.iter().filter(|(p, _)| p.matches(&site.name));
        here.filter_map(|(_, a)| a.attach(site, &below).transpose()).collect()
    }

    /// Layers made in this scope, or in one that came from the same [`new`](Self::new), to which adapters were
    /// attached.
    pub fn adapted(&self) -> Vec<Site> {
        self.adapted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A bridge for borrowed candle modules: a `VarBuilder` whose weights are made here.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device().clone())
    }

    fn ensure(&self, full: &str, shape: Shape, role: Role, init: Init) -> Result<Var> {
        if let Some(p) = self.params.find(full) {
            if p.var().shape() != &shape {
                let (want, have) = (shape.dims(), p.var().dims());
                return Err(Error::param(full, format!("the network needs shape {want:?}, and there is {have:?}")));
            }
            return Ok(p.var().clone());
        }
        let value = self.draw(full, &shape, init)?;
        self.params.insert(full, &value, role, Origin::Fresh)?;
        Ok(self.params.get(full)?.var().clone())
    }

    fn draw(&self, full: &str, shape: &Shape, init: Init) -> Result<Tensor> {
        let n = shape.elem_count();
        let init = if self.params.draws() { init } else { Init::Const(0.0) };
        let mut rng = self.seeds.stream(&format!("init/{full}"), &[]);
        let values: Vec<f64> = match init {
            Init::Const(c) => vec![c; n],
            Init::Uniform(b) => (0..n).map(|_| rng.random_range(-1.0..1.0) * b).collect(),
            Init::Normal(std) => {
                // Box–Muller, one draw a value: simple, and the same on every platform. Each takes four words of the stream, so
                // that every thread knows where its values begin.
                let normal = |rng: &mut crate::Stream| {
                    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
                };
                let mut values = vec![0.0; n];
                parallel::chunks_mut(&mut values, TOGETHER, &|i, values| {
                    let mut rng = rng.clone();
                    rng.set_word_pos((4 * TOGETHER * i) as u128);
                    values.iter_mut().for_each(|v| *v = normal(&mut rng) * std);
                });
                values
            }
        };
        Ok(Tensor::from_vec(values, shape.clone(), &Device::Cpu)?.to_dtype(self.dtype)?)
    }
}

impl SimpleBackend for Scope {
    fn get(&self, s: Shape, name: &str, h: candle_nn::Init, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let init = match h {
            candle_nn::Init::Const(c) => Init::Const(c),
            candle_nn::Init::Uniform { lo, up } => Init::Uniform((up - lo) / 2.0),
            candle_nn::Init::Randn { stdev, .. } => Init::Normal(stdev),
            candle_nn::Init::Kaiming { .. } => Init::he(s.dims().iter().skip(1).product()),
        };
        self.weight(name, s, init).map_err(candle_core::Error::wrap)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let p = self.params.get(&self.full(name)).map_err(candle_core::Error::wrap)?;
        self.weight(name, p.var().shape().clone(), Init::Const(0.0)).map_err(candle_core::Error::wrap)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.params.find(&self.full(name)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(plan: Plan) -> Scope {
        Scope::new(&Params::new(&Device::Cpu), Arc::new(plan), Seeds::new(1), DType::F32)
    }

    #[test]
    fn the_plan_decides_what_is_tracked() -> Result<()> {
        let s = scope(Plan::frozen(["a.w"]));
        assert!(!s.pp("a").weight("w", 3, Init::Const(1.0))?.track_op());
        assert!(s.pp("b").weight("w", 3, Init::Const(1.0))?.track_op());
        assert_eq!(s.stage(&Stage::new("a")).norm_policy(), NormPolicy::Frozen);
        s.pp("a").weight("v", 3, Init::Const(1.0))?;
        assert_eq!(s.stage(&Stage::new("a")).norm_policy(), NormPolicy::Batch);
        assert_eq!(s.stage(&Stage::new("b")).norm_policy(), NormPolicy::Batch);
        Ok(())
    }

    #[test]
    fn a_fresh_weight_depends_on_its_name_not_on_the_order() -> Result<()> {
        let (s, t) = (scope(Plan::default()), scope(Plan::default()));
        let a = s.weight("a", 4, Init::Normal(1.0))?.to_vec1::<f32>()?;
        t.weight("b", 4, Init::Normal(1.0))?;
        assert_eq!(a, t.weight("a", 4, Init::Normal(1.0))?.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_borrowed_candle_layer_is_made_through_the_scope() -> Result<()> {
        let s = scope(Plan::default());
        candle_nn::linear(3, 2, s.var_builder().pp("fc"))?;
        assert_eq!(s.params.names(), ["fc.bias", "fc.weight"]);
        Ok(())
    }
}
