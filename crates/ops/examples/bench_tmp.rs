#![allow(missing_docs, clippy::all, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]
use candle_core::*;
use transplant_ops::*;
use transplant_ops::testing::*;
use std::time::Instant;
fn min(mut f: impl FnMut()) -> f64 { (0..40).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64() * 1e3 }).fold(f64::MAX, f64::min) }
fn var(seed: u64, s: &[usize]) -> Tensor { Var::from_tensor(&single(&random(seed, s))).unwrap().as_tensor().clone() }
fn main() {
    let n = 64;
    for (c, hw, o) in [(1, 28, 16), (16, 14, 32), (32, 7, 64)] {
        let x = var(1, &[n, c, hw, hw]); let x = if c == 1 { x.detach() } else { x };
        let (w, b, ga) = (var(2, &[o, c, 3, 3]), var(3, &[o]), var(4, &[o]));
        let y = var(5, &[n, o, hw, hw]);
        let f = min(|| { conv2d(&x, &w, None, Conv2dGeometry::padded(1)).unwrap(); });
        let fb = min(|| { conv2d(&x, &w, None, Conv2dGeometry::padded(1)).unwrap().backward().unwrap(); });
        println!("{c}->{o} conv fwd {f:.3} bwd {:.3}", fb - f);
        let f = min(|| { batch_norm(&y, &ga, &b, 1e-5, true).unwrap(); });
        let fb = min(|| { batch_norm(&y, &ga, &b, 1e-5, true).unwrap().0.backward().unwrap(); });
        println!("   bn+relu fwd {f:.3} bwd {:.3}", fb - f);
        let f = min(|| { relu(&y).unwrap(); });
        let fb = min(|| { relu(&y).unwrap().backward().unwrap(); });
        println!("   relu fwd {f:.3} bwd {:.3}", fb - f);
        let f = min(|| { y.zeros_like().unwrap(); }); 
        let fb = min(|| { (&y + &y).unwrap(); });
        println!("   zeros {f:.3} add {:.3}", fb);
        let f = min(|| { max_pool2d(&y, Pool2d::square(2)).unwrap(); });
        let fb = min(|| { max_pool2d(&y, Pool2d::square(2)).unwrap().backward().unwrap(); });
        println!("   maxpool fwd {f:.3} bwd {:.3}", fb - f);
    }
    let x = single(&random(1, &[n, 1, 28, 28]));
    let p: Vec<_> = [(1, 16), (16, 32), (32, 64)].iter().map(|&(c, o)| (var(1, &[o, c, 3, 3]), var(2, &[o]), var(3, &[o]))).collect();
    let (w, b) = (var(7, &[10, 64]), var(8, &[10]));
    let labels = Tensor::new((0..n as u32).map(|i| i % 10).collect::<Vec<_>>(), &Device::Cpu).unwrap();
    let fwd = || {
        let mut x = x.clone();
        for (i, (w, g, b)) in p.iter().enumerate() {
            x = batch_norm(&conv2d(&x, w, None, Conv2dGeometry::padded(1)).unwrap(), g, b, 1e-5, true).unwrap().0;
            if i < 2 { x = max_pool2d(&x, Pool2d::square(2)).unwrap(); }
        }
        cross_entropy_rows(&linear(&global_avg_pool(&x).unwrap(), &w, Some(&b)).unwrap(), &labels, 0.1, None, None).unwrap().mean_all().unwrap()
    };
    let f = min(|| { fwd(); });
    let st = || { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let v: Vec<f64> = s.rsplit(')').next().unwrap().split_whitespace().map(|x| x.parse().unwrap_or(0.0)).collect(); [v[7], v[11] * 10.0, v[12] * 10.0] };
    let a = st();
    let fb = min(|| { fwd().backward().unwrap(); });
    let e = st();
    println!("per step: minor faults {} user ms {} sys ms {}", (e[0]-a[0])/40.0, (e[1]-a[1])/40.0, (e[2]-a[2])/40.0);
    println!("step: fwd {f:.3} whole {fb:.3}");
}
