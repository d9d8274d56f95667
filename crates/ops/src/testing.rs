//! Tools for testing differentiable operations, here and in other crates: exact gradients against finite differences,
//! equal bits on thread pools of any size. They panic with what differs, as assertions do.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are assertions")]

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use transplant_core::{Gradients, Origin, Params, Role, Stream};

/// Uniform numbers in -1..1, `f64` of this shape, from this seed.
pub fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = Stream::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the shape fits")
}

/// The same values in single precision.
pub fn single(t: &Tensor) -> Tensor {
    t.to_dtype(DType::F32).expect("a conversion on the CPU")
}

/// All values, as `f64`.
pub fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("a tensor on the CPU")
}

/// The largest absolute difference between two tensors of one shape.
pub fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims(), "shapes differ");
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The scalar that gradients are taken of: all outputs, each with its own weight.
fn loss(y: &Tensor) -> Result<Tensor> {
    (y * random(99, y.dims()).to_dtype(y.dtype())?)?.sum_all()
}

/// Gradients of a weighted sum of `f`'s output for all inputs, made by [`transplant_core::backward`].
pub fn gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Vec<Tensor> {
    let params = Params::new(&Device::Cpu);
    let name = |i: usize| format!("{i:03}");
    for (i, t) in inputs.iter().enumerate() {
        params.insert(&name(i), t, Role::Weight, Origin::Fresh).expect("a copy");
    }
    let vars: Vec<Tensor> =
        (0..inputs.len()).map(|i| params.get(&name(i)).expect("just inserted").var().as_tensor().clone()).collect();
    let run = || f(&vars).and_then(|y| loss(&y)).expect("the operation runs");
    let mut found = Gradients::new(&params, |_| true);
    transplant_core::backward(&run(), &mut found).expect("the backward pass runs");
    // The same must come out where nobody collects gradients and the operation is one of candle's.
    #[allow(clippy::disallowed_methods, reason = "compares with candle's own backward pass")]
    let plain = run().backward().expect("candle's backward pass runs");
    // And from a tape, twice, so that nothing is used up.
    let recording = transplant_core::Recording::start().expect("a recording starts");
    let (recorded, mut taped) = (run(), Gradients::new(&params, |_| true));
    transplant_core::backward(&recorded, &mut taped).expect("the recorded backward pass runs");
    let mut again = Gradients::new(&params, |_| true);
    transplant_core::backward_last(&recorded, &mut again).expect("the recorded backward pass runs again");
    drop((recorded, recording));
    let grad = |(i, t): (usize, &Tensor)| {
        let grad = found.get(&name(i)).cloned().unwrap_or(t.zeros_like().expect("zeros"));
        for other in [&taped, &again] {
            let other = other.get(&name(i)).cloned().unwrap_or(t.zeros_like().expect("zeros"));
            assert_eq!(max_difference(&grad, &other), 0.0, "input {i}: recorded and plain gradients differ");
        }
        if let Some(p) = plain.get(&vars[i]) {
            assert_eq!(max_difference(&grad, p), 0.0, "input {i}: collected and plain gradients differ");
        }
        grad
    };
    inputs.iter().enumerate().map(grad).collect()
}

/// Compares the gradients of `f` for all of its `f64` inputs with central finite differences.
///
/// # Panics
/// When they differ by more than 1e-6 of the larger of 1 and the gradient.
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) {
    const STEP: f64 = 1e-5;
    let at = |inputs: &[Tensor]| values(&f(inputs).and_then(|y| loss(&y)).expect("the operation runs"))[0];
    for (i, (t, grad)) in inputs.iter().zip(gradients(&f, inputs)).enumerate() {
        assert_eq!(t.dims(), grad.dims(), "input {i}: the gradient has another shape");
        let (original, grad) = (values(t), values(&grad));
        for j in 0..original.len() {
            let moved = |by: f64| {
                let (mut v, mut inputs) = (original.clone(), inputs.to_vec());
                v[j] += by;
                inputs[i] = Tensor::from_vec(v, t.dims(), &Device::Cpu).expect("the same shape");
                at(&inputs)
            };
            let want = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let close = (want - grad[j]).abs() <= 1e-6 * want.abs().max(1.0);
            assert!(close, "input {i}, element {j}: finite difference {want}, gradient {}", grad[j]);
        }
    }
}

/// Runs `f` and its gradients on pools of one to three threads.
///
/// # Panics
/// When a bit differs.
pub fn same_bits_on_any_pool(f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync, inputs: &[Tensor]) {
    let bits = |t: &Tensor| values(t).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let mut all = vec![bits(&f(inputs).expect("the operation runs"))];
            all.extend(gradients(&f, inputs).iter().map(bits));
            all
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3), "the bits depend on the number of threads");
}
