//! The element types, and the decoding of their bytes to numbers.

use serde::Serialize;

/// The type of a tensor's elements, under its name in the safetensors format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(non_camel_case_types, reason = "these are the format's own names")]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    F8_E8M0,
    F6_E2M3,
    F6_E3M2,
    F4,
    C64,
    I64,
    U64,
    I32,
    U32,
    I16,
    U16,
    I8,
    U8,
    BOOL,
}

impl Dtype {
    const ALL: [Self; 22] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F8_E4M3,
        Self::F8_E5M2,
        Self::F8_E4M3FNUZ,
        Self::F8_E5M2FNUZ,
        Self::F8_E8M0,
        Self::F6_E2M3,
        Self::F6_E3M2,
        Self::F4,
        Self::C64,
        Self::I64,
        Self::U64,
        Self::I32,
        Self::U32,
        Self::I16,
        Self::U16,
        Self::I8,
        Self::U8,
        Self::BOOL,
    ];

    /// Returns the type with this name in a header.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Returns the name in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F8_E4M3 => "F8_E4M3",
            Self::F8_E5M2 => "F8_E5M2",
            Self::F8_E4M3FNUZ => "F8_E4M3FNUZ",
            Self::F8_E5M2FNUZ => "F8_E5M2FNUZ",
            Self::F8_E8M0 => "F8_E8M0",
            Self::F6_E2M3 => "F6_E2M3",
            Self::F6_E3M2 => "F6_E3M2",
            Self::F4 => "F4",
            Self::C64 => "C64",
            Self::I64 => "I64",
            Self::U64 => "U64",
            Self::I32 => "I32",
            Self::U32 => "U32",
            Self::I16 => "I16",
            Self::U16 => "U16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::BOOL => "BOOL",
        }
    }

    /// Returns the size of one element in bits, 4 to 64. A tensor takes whole bytes.
    pub fn bits(self) -> usize {
        match self {
            Self::F64 | Self::C64 | Self::I64 | Self::U64 => 64,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 16,
            Self::F8_E4M3 | Self::F8_E5M2 | Self::F8_E4M3FNUZ | Self::F8_E5M2FNUZ | Self::F8_E8M0 => 8,
            Self::I8 | Self::U8 | Self::BOOL => 8,
            Self::F6_E2M3 | Self::F6_E3M2 => 6,
            Self::F4 => 4,
        }
    }

    /// Returns true if the elements can be weights, whose values are judged. Other types are only counted and hashed.
    pub fn is_judged(self) -> bool {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::BF16 => true,
            Self::F8_E4M3 | Self::F8_E5M2 | Self::F8_E4M3FNUZ | Self::F8_E5M2FNUZ => true,
            Self::F8_E8M0 | Self::F6_E2M3 | Self::F6_E3M2 | Self::F4 | Self::C64 | Self::BOOL => false,
            Self::I64 | Self::U64 | Self::I32 | Self::U32 | Self::I16 | Self::U16 | Self::I8 | Self::U8 => false,
        }
    }

    /// Decodes whole little-endian elements into the front of `numbers`, which must have room for them, and returns
    /// their count: 0 for a type that holds no single numbers, and for types of less than a byte, in which an alpha
    /// cannot be saved. sd-scripts saves an alpha that was given as a whole number as I64.
    ///
    /// F64 is narrowed to f32, in which trainers compute: values that do not fit are infinite for the trainers too.
    pub(super) fn decode(self, bytes: &[u8], numbers: &mut [f32]) -> usize {
        match self {
            Self::F64 => each(bytes, numbers, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, numbers, f32::from_le_bytes),
            Self::F16 => each(bytes, numbers, |b| f16(u16::from_le_bytes(b))),
            Self::BF16 => each(bytes, numbers, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            Self::F8_E4M3 => each(bytes, numbers, |[b]| f8_e4m3(b)),
            // F8_E5M2 has the same exponent as F16 and a shorter mantissa.
            Self::F8_E5M2 => each(bytes, numbers, |[b]| f16(u16::from(b) << 8)),
            Self::F8_E4M3FNUZ => each(bytes, numbers, |[b]| fnuz(b, 3)),
            Self::F8_E5M2FNUZ => each(bytes, numbers, |[b]| fnuz(b, 2)),
            Self::F8_E8M0 => each(bytes, numbers, |[b]| f8_e8m0(b)),
            Self::I64 => each(bytes, numbers, |b: [u8; 8]| i64::from_le_bytes(b) as f32),
            Self::U64 => each(bytes, numbers, |b: [u8; 8]| u64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, numbers, |b: [u8; 4]| i32::from_le_bytes(b) as f32),
            Self::U32 => each(bytes, numbers, |b: [u8; 4]| u32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, numbers, |b| f32::from(i16::from_le_bytes(b))),
            Self::U16 => each(bytes, numbers, |b| f32::from(u16::from_le_bytes(b))),
            Self::I8 => each(bytes, numbers, |b| f32::from(i8::from_le_bytes(b))),
            Self::U8 => each(bytes, numbers, |[b]| f32::from(b)),
            Self::F6_E2M3 | Self::F6_E3M2 | Self::F4 | Self::C64 | Self::BOOL => 0,
        }
    }
}

fn each<const N: usize>(bytes: &[u8], numbers: &mut [f32], read: impl Fn([u8; N]) -> f32) -> usize {
    let (elements, _) = bytes.as_chunks::<N>();
    for (number, element) in numbers.iter_mut().zip(elements) {
        *number = read(*element);
    }
    elements.len()
}

/// Decodes IEEE 754 binary16. There are no branches, so that the compiler can vectorize the conversion: the mantissa is
/// moved to its place in f32, and a multiplication corrects the exponent's bias, for subnormal numbers too.
fn f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let digits = u32::from(half & 0x7fff);
    let number = f32::from_bits(digits << 13) * f32::from_bits((127 + 127 - 15) << 23);
    let not_finite = if digits >= 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(number.to_bits() | not_finite | sign)
}

/// Decodes the OCP 8-bit float with 4 bits of exponent (the "FN" variant that torch uses): no infinity, and one NaN for
/// each sign.
fn f8_e4m3(byte: u8) -> f32 {
    let sign = u32::from(byte & 0x80) << 24;
    let digits = u32::from(byte & 0x7f);
    let number = f32::from_bits(digits << 20) * f32::from_bits((127 + 127 - 7) << 23);
    let not_a_number = if digits == 0x7f { 0x7fc0_0000 } else { 0 };
    f32::from_bits(number.to_bits() | not_a_number | sign)
}

/// Decodes an 8-bit float of AMD's GPUs, whose exponent has one more in its bias than the OCP formats: no infinity, and
/// the NaN is where -0 would be.
fn fnuz(byte: u8, mantissa: u32) -> f32 {
    let sign = u32::from(byte & 0x80) << 24;
    let digits = u32::from(byte & 0x7f);
    let bias = 1 << (6 - mantissa);
    let number = f32::from_bits(digits << (23 - mantissa)) * f32::from_bits((127 + 127 - bias) << 23);
    if byte == 0x80 { f32::NAN } else { f32::from_bits(number.to_bits() | sign) }
}

/// Decodes the OCP scale, a power of two: an exponent alone, of which the last one is NaN.
fn f8_e8m0(byte: u8) -> f32 {
    // The smallest power is subnormal in f32.
    let smallest = 1 << 22;
    let not_a_number = if byte == 0xff { smallest } else { 0 };
    f32::from_bits(if byte == 0 { smallest } else { u32::from(byte) << 23 | not_a_number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(dtype: Dtype, bytes: &[u8]) -> f32 {
        let mut numbers = [0.0];
        assert_eq!(dtype.decode(bytes, &mut numbers), 1);
        numbers[0]
    }

    #[test]
    fn numbers_are_what_the_formats_say() {
        for (dtype, bits, number) in [
            (Dtype::F16, 0x3c00, 1.0),
            (Dtype::F16, 0xc000, -2.0),
            (Dtype::F16, 0x7bff, 65504.0),
            (Dtype::F16, 0x0001, 5.960_464_5e-8),
            (Dtype::F16, 0x0400, 6.103_515_6e-5),
            (Dtype::F16, 0x7c00, f32::INFINITY),
            (Dtype::F16, 0xfc00, f32::NEG_INFINITY),
            (Dtype::BF16, 0x3fc0, 1.5),
            (Dtype::BF16, 0xff80, f32::NEG_INFINITY),
        ] {
            assert_eq!(decoded(dtype, &u16::to_le_bytes(bits)), number, "{dtype:?} {bits:#x}");
        }
        for (dtype, byte, number) in [
            (Dtype::F8_E4M3, 0x38, 1.0),
            (Dtype::F8_E4M3, 0x7e, 448.0),
            (Dtype::F8_E4M3, 0x01, 0.001_953_125),
            (Dtype::F8_E4M3, 0xb8, -1.0),
            (Dtype::F8_E5M2, 0x3c, 1.0),
            (Dtype::F8_E5M2, 0x7b, 57344.0),
            (Dtype::F8_E5M2, 0x7c, f32::INFINITY),
            (Dtype::F8_E4M3FNUZ, 0x40, 1.0),
            (Dtype::F8_E4M3FNUZ, 0x7f, 240.0),
            (Dtype::F8_E4M3FNUZ, 0x01, 0.000_976_562_5),
            (Dtype::F8_E4M3FNUZ, 0xc0, -1.0),
            (Dtype::F8_E5M2FNUZ, 0x40, 1.0),
            (Dtype::F8_E5M2FNUZ, 0x7f, 57344.0),
            (Dtype::F8_E5M2FNUZ, 0x01, 7.629_394_5e-6),
            (Dtype::F8_E8M0, 0x7f, 1.0),
            (Dtype::F8_E8M0, 0x82, 8.0),
            (Dtype::F8_E8M0, 0x00, 5.877_472e-39),
            (Dtype::I8, 0xfc, -4.0),
            (Dtype::U8, 0xfc, 252.0),
        ] {
            assert_eq!(decoded(dtype, &[byte]), number, "{dtype:?} {byte:#x}");
        }
        for (dtype, bytes) in [
            (Dtype::F16, &[0x01, 0x7c][..]),
            (Dtype::BF16, &[0xc0, 0x7f]),
            (Dtype::F8_E4M3, &[0xff]),
            (Dtype::F8_E4M3FNUZ, &[0x80]),
            (Dtype::F8_E5M2FNUZ, &[0x80]),
            (Dtype::F8_E8M0, &[0xff]),
        ] {
            assert!(decoded(dtype, bytes).is_nan(), "{dtype:?}");
        }
        assert_eq!(decoded(Dtype::F64, &f64::MAX.to_le_bytes()), f32::INFINITY);
    }

    #[test]
    fn every_type_has_its_own_name() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::named(dtype.name()), Some(dtype));
            assert_eq!(serde_json::json!(dtype), dtype.name());
            assert!((4..=64).contains(&dtype.bits()));
        }
        assert_eq!(Dtype::named("F7"), None);
    }
}
