//! A short summary of a report on weights, for storage and display.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Module, Report, median};
use crate::domain::Problem;

/// Maximum number of values kept of a fact that has one value in most files.
const MOST: usize = 8;
/// Maximum number of blocks kept. Real models have a few dozen.
const MOST_BLOCKS: usize = 200;

/// The main facts about a file of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The naming scheme of the tensors; `None` when the file contains no LoRA.
    pub family: Option<String>,
    /// The methods that make the changes, such as `LoRA`.
    pub methods: Vec<String>,
    /// The ranks, smallest first.
    pub ranks: Vec<u64>,
    /// The element types.
    pub dtypes: Vec<String>,
    /// The number of elements in all tensors.
    pub parameters: u64,
    /// The number of modules that the file changes.
    pub modules: usize,
    /// The number of modules that did not change since before the training.
    pub untrained: usize,
    /// The median norm of the modules' changes; `None` without any norm.
    pub median_norm: Option<f64>,
    /// True when the norms are exact norms of products; otherwise they are upper bounds.
    pub norms_are_exact: bool,
    /// The blocks of the model, in the order of the file.
    pub blocks: Vec<Block>,
    /// The problems of the file, errors first.
    pub problems: Vec<Problem>,
}

/// The modules of one block of the model, taken together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The part of the model and the block in it, such as `U-Net down_blocks_0`.
    pub name: String,
    /// The number of modules in the block.
    pub modules: usize,
    /// The largest norm among them; `None` when a number is not finite.
    pub norm: Option<f64>,
}

impl Summary {
    /// Summarizes a report.
    pub fn of(report: &Report) -> Self {
        let methods: BTreeSet<&str> = report.modules.iter().map(Module::method_name).collect();
        let ranks: BTreeSet<u64> = report.modules.iter().filter_map(|module| module.rank).collect();
        Self {
            sha256: report.sha256.clone(),
            bytes: report.bytes,
            family: report.family.map(|family| family.name().to_owned()),
            methods: methods.into_iter().take(MOST).map(str::to_owned).collect(),
            ranks: ranks.into_iter().take(MOST).collect(),
            dtypes: report.dtypes.keys().take(MOST).map(|dtype| dtype.name().to_owned()).collect(),
            parameters: report.parameters,
            modules: report.modules.len(),
            untrained: report.modules.iter().filter(|module| module.is_zero).count(),
            median_norm: median(report.modules.iter().filter_map(|module| module.norm).collect()),
            norms_are_exact: report.norms_are_exact,
            blocks: blocks(report),
            problems: report.problems(),
        }
    }

    /// Formats the summary as `LoRA of rank 4, 128 modules`.
    pub fn in_words(&self) -> String {
        let ranks: Vec<String> = self.ranks.iter().map(u64::to_string).collect();
        let rank = if ranks.is_empty() { String::new() } else { format!(" of rank {}", ranks.join(" and ")) };
        let plural = if self.modules == 1 { "" } else { "s" };
        format!("{}{rank}, {} module{plural}", self.methods.join(" and "), self.modules)
    }
}

fn blocks(report: &Report) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for module in &report.modules {
        let name = format!("{} {}", module.part, module.block);
        if let Some(block) = blocks.iter_mut().find(|block| block.name == name) {
            block.modules += 1;
            block.norm = block.norm.zip(module.norm).map(|(a, b)| a.max(b));
        } else if blocks.len() < MOST_BLOCKS {
            blocks.push(Block { name, modules: 1, norm: module.norm });
        }
    }
    blocks
}
