use super::*;

#[test]
fn each_rule_has_an_explanation() {
    for rule in Rule::ALL {
        let Explanation { summary, text, .. } = Explanation::of(*rule);
        assert!(summary.ends_with('.') && summary.len() < 120 && !text.is_empty(), "{rule}: {summary}");
    }
}

#[test]
fn an_explanation_is_shown_with_its_examples_and_the_switch() {
    let shown = explain(Rule::CamelCase, false);
    assert!(shown.starts_with("camel-case\n\nA key is written in camel case"), "{shown}");
    assert!(shown.contains("\nWrong, `a.yaml`:\n\n    base_model: m.safetensors\n    trainDataDir: data\n"), "{shown}");
    assert!(shown.ends_with("\n    lora: {rules: {camel-case: off}}\n"), "{shown}");
    assert!(
        list(false, None).lines().any(|line| line.starts_with("camel-case ") && line.ends_with("with underscores."))
    );
}
