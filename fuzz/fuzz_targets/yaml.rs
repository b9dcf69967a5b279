//! The YAML reader: any text results in a tree within the bounds, or in an error with a place in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_base::yaml::{self, Node};

fn check(node: &Node, depth: usize) {
    assert!(depth <= yaml::MAX_DEPTH + 1, "deeper than the bound");
    node.items().iter().for_each(|item| check(item, depth + 1));
    for (index, entry) in node.entries().iter().enumerate() {
        assert!(node.entries()[..index].iter().all(|other| other.key != entry.key), "a key is given twice");
        check(&entry.value, depth + 1);
    }
}

fuzz_target!(|text: &str| {
    match yaml::read(text) {
        Ok(document) => document.root.iter().for_each(|root| check(root, 0)),
        Err(error) => assert!(!error.message.is_empty()),
    }
});
