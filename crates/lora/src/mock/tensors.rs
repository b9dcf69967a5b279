//! Random weights as safetensors.

use serde_json::{Map, json};

/// Tensors of 32-bit floats, in the order in which they are added.
pub(super) struct Weights {
    header: Map<String, serde_json::Value>,
    data: Vec<u8>,
    random: Random,
}

impl Weights {
    pub(super) fn new() -> Self {
        let mut header = Map::new();
        // transformers refuses a file that does not name its framework.
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        Self { header, data: Vec::new(), random: Random(0) }
    }

    /// Adds a tensor. The name and the shape show its kind: biases are 0, the scales of norms are 1, and all others are
    /// random numbers as large as PyTorch's initial ones.
    pub(super) fn add_like(&mut self, name: &str, shape: &[usize]) {
        let inputs: usize = shape.iter().skip(1).product();
        if name.ends_with("bias") && shape.len() == 1 {
            self.filled(name, shape, 0.0);
        } else if inputs == 1 {
            self.filled(name, shape, 1.0);
        } else {
            self.random(name, shape, inputs);
        }
    }

    fn random(&mut self, name: &str, shape: &[usize], inputs: usize) {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut random = std::mem::replace(&mut self.random, Random(0));
        self.add(name, shape, || random.within(bound));
        self.random = random;
    }

    fn filled(&mut self, name: &str, shape: &[usize], number: f32) {
        self.add(name, shape, || number);
    }

    fn add(&mut self, name: &str, shape: &[usize], mut next: impl FnMut() -> f32) {
        let start = self.data.len();
        for _ in 0..shape.iter().product() {
            self.data.extend(next().to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, self.data.len()]});
        self.header.insert(name.to_owned(), entry);
    }

    /// Returns the bytes of the file.
    pub(super) fn written(self) -> Vec<u8> {
        let mut header = serde_json::Value::Object(self.header).to_string();
        // The data begins at a multiple of 8, so that it can be mapped into memory.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        bytes.extend(self.data);
        bytes
    }
}

/// The generator SplitMix64: short and deterministic.
struct Random(u64);

impl Random {
    fn within(&mut self, bound: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // A 32-bit float can hold exactly the upper 24 bits.
        let unit = (mixed >> 40) as f32 / (1 << 24) as f32;
        (unit * 2.0 - 1.0) * bound
    }
}
