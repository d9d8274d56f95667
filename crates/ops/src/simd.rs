//! Vectors of floating point numbers, whatever the machine's width, for the inner loops that the compiler does not find.

use pulp::{MemMask, Simd};

#[allow(unsafe_code, reason = "loads and stores through pointers")]
/// A number of which vectors are made. `S` stands for the instructions of the machine.
pub(crate) trait Vectors: Copy + Send + Sync + 'static {
    /// A vector.
    type V<S: Simd>: Copy;
    /// Says which lanes of a vector count.
    type M<S: Simd>: Copy;

    /// Lanes of a vector.
    fn lanes<S: Simd>() -> usize;
    /// A number in every lane.
    fn splat<S: Simd>(s: S, x: Self) -> Self::V<S>;
    /// `a b + c`.
    fn fma<S: Simd>(s: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;
    /// `a + b`.
    fn plus<S: Simd>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// The larger of `a` and `b`.
    fn larger<S: Simd>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// The smaller of `a` and `b`.
    fn smaller<S: Simd>(s: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// The first `n` lanes.
    fn first<S: Simd>(s: S, n: usize) -> Self::M<S>;
    /// The lanes of `m` from memory, zero in the others.
    ///
    /// # Safety
    /// The memory of the counted lanes must be readable.
    unsafe fn load<S: Simd>(s: S, m: Self::M<S>, at: *const Self) -> Self::V<S>;
    /// A whole vector from memory.
    ///
    /// # Safety
    /// The memory of all lanes must be readable.
    #[inline(always)]
    unsafe fn load_all<S: Simd>(at: *const Self) -> Self::V<S> {
        // SAFETY: the caller promises that the lanes are readable; a vector is nothing but its lanes.
        unsafe { at.cast::<Self::V<S>>().read_unaligned() }
    }

    /// Writes a whole vector.
    ///
    /// # Safety
    /// The memory of all lanes must be writable.
    #[inline(always)]
    unsafe fn store_all<S: Simd>(at: *mut Self, v: Self::V<S>) {
        // SAFETY: the caller promises that the lanes are writable; a vector is nothing but its lanes.
        unsafe { at.cast::<Self::V<S>>().write_unaligned(v) }
    }

    /// Writes the lanes of `m`.
    ///
    /// # Safety
    /// The memory of the counted lanes must be writable.
    unsafe fn store<S: Simd>(s: S, m: Self::M<S>, at: *mut Self, v: Self::V<S>);
}

/// Vectors side by side, of which the last may have lanes that do not count. A masked access is slow, so it is only made
/// where it must be.
pub(crate) struct Side<T: Vectors, S: Simd> {
    s: S,
    last: usize,
    whole: bool,
    edge: T::M<S>,
}

impl<T: Vectors, S: Simd> Clone for Side<T, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Vectors, S: Simd> Copy for Side<T, S> {}

#[allow(unsafe_code, reason = "loads and stores through pointers")]
impl<T: Vectors, S: Simd> Side<T, S> {
    /// `vectors` of them, which hold `columns` numbers or more.
    #[inline(always)]
    pub(crate) fn new(s: S, vectors: usize, columns: usize) -> Self {
        let before = (vectors - 1) * T::lanes::<S>();
        let left = columns - before;
        Self { s, last: vectors - 1, whole: left >= T::lanes::<S>(), edge: T::first(s, left) }
    }

    /// Vector number `v` of those that begin at `at`.
    ///
    /// # Safety
    /// The memory of all columns must be readable.
    #[inline(always)]
    pub(crate) unsafe fn load(self, v: usize, at: *const T) -> T::V<S> {
        // SAFETY: only lanes of columns are read, which the caller promises to be readable.
        unsafe {
            let at = at.add(v * T::lanes::<S>());
            if v < self.last || self.whole { T::load_all::<S>(at) } else { T::load(self.s, self.edge, at) }
        }
    }

    /// Writes vector number `v` of those that begin at `at`.
    ///
    /// # Safety
    /// The memory of all columns must be writable.
    #[inline(always)]
    pub(crate) unsafe fn store(self, v: usize, at: *mut T, value: T::V<S>) {
        // SAFETY: only lanes of columns are written, which the caller promises to be writable.
        unsafe {
            let at = at.add(v * T::lanes::<S>());
            if v < self.last || self.whole {
                T::store_all::<S>(at, value);
            } else {
                T::store(self.s, self.edge, at, value);
            }
        }
    }
}

macro_rules! vectors {
    ($t:ident, $v:ident, $m:ident, $lanes:ident, $int:ty, $splat:ident $fma:ident $add:ident $max:ident $min:ident
     $mask:ident $load:ident $store:ident) => {
        impl Vectors for $t {
            type V<S: Simd> = S::$v;
            type M<S: Simd> = MemMask<S::$m>;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }

            #[inline(always)]
            fn splat<S: Simd>(s: S, x: Self) -> S::$v {
                s.$splat(x)
            }

            #[inline(always)]
            fn fma<S: Simd>(s: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v {
                s.$fma(a, b, c)
            }

            #[inline(always)]
            fn plus<S: Simd>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$add(a, b)
            }

            #[inline(always)]
            fn larger<S: Simd>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$max(a, b)
            }

            #[inline(always)]
            fn smaller<S: Simd>(s: S, a: S::$v, b: S::$v) -> S::$v {
                s.$min(a, b)
            }

            #[inline(always)]
            fn first<S: Simd>(s: S, n: usize) -> MemMask<S::$m> {
                s.$mask(0, n.min(S::$lanes) as $int)
            }

            #[allow(unsafe_code, reason = "masked loads have no safe interface")]
            #[inline(always)]
            unsafe fn load<S: Simd>(s: S, m: MemMask<S::$m>, at: *const $t) -> S::$v {
                // SAFETY: the caller promises that the counted lanes are readable; the others are not touched.
                unsafe { s.$load(m, at) }
            }

            #[allow(unsafe_code, reason = "masked stores have no safe interface")]
            #[inline(always)]
            unsafe fn store<S: Simd>(s: S, m: MemMask<S::$m>, at: *mut $t, v: S::$v) {
                // SAFETY: the caller promises that the counted lanes are writable; the others are not touched.
                unsafe { s.$store(m, at, v) }
            }
        }
    };
}

vectors!(f32, f32s, m32s, F32_LANES, u32, splat_f32s mul_add_e_f32s add_f32s max_f32s min_f32s
         mask_between_m32s mask_load_ptr_f32s mask_store_ptr_f32s);
vectors!(f64, f64s, m64s, F64_LANES, u64, splat_f64s mul_add_e_f64s add_f64s max_f64s min_f64s
         mask_between_m64s mask_load_ptr_f64s mask_store_ptr_f64s);

/// Lanes of this machine's vectors of `T`.
pub(crate) fn lanes<T: Vectors>() -> usize {
    struct Ask<T>(std::marker::PhantomData<T>);
    impl<T: Vectors> pulp::WithSimd for Ask<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::lanes::<S>()
        }
    }
    pulp::Arch::new().dispatch(Ask::<T>(std::marker::PhantomData))
}
