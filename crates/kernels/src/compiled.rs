//! Functions that are compiled in this crate.

/// Declares a trait of functions over [`Element`](crate::element::Element) and implements it for `f32` and `f64` by generic
/// functions of this module. A generic function is compiled where it is called, in every crate anew; a method of a type is
/// compiled here.
macro_rules! compiled_here {
    (
        $(#[$doc:meta])*
        pub trait $trait:ident {
            $($(#[$of:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $out:ty = $inner:path;)*
        }
    ) => {
        $(#[$doc])*
        pub trait $trait: crate::element::Element {
            $($(#[$of])* fn $name($($arg: $type),*) -> $out;)*
        }
        compiled_here!(@ f32 $trait $(fn $name($($arg: $type),*) -> $out = $inner;)*);
        compiled_here!(@ f64 $trait $(fn $name($($arg: $type),*) -> $out = $inner;)*);
    };
    (@ $t:ident $trait:ident $(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty = $inner:path;)*) => {
        impl $trait for $t {
            $(fn $name($($arg: $type),*) -> $out {
                $inner($($arg),*)
            })*
        }
    };
}
pub(crate) use compiled_here;
