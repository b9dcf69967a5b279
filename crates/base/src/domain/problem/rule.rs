//! The rules whose problems the lint of configs and the plan of a `.travis.yml` report.

use std::fmt;

macro_rules! rules {
    ($($rule:ident = $name:literal,)*) => {
        /// A rule. Its explanation is in `docs/usage/rules`, under its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($rule,)*
        }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// Returns the stable name, in kebab-case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }
        }
    };
}

rules! {
    // The text of a file.
    BadYaml = "bad-yaml",
    BadToml = "bad-toml",
    BadJson = "bad-json",
    NotUtf8 = "not-utf8",
    ByteOrderMark = "byte-order-mark",
    Nul = "nul",
    DuplicateKey = "duplicate-key",
    // Training configs.
    UnknownKey = "unknown-key",
    CamelCase = "camel-case",
    MissingRequired = "missing-required",
    WrongType = "wrong-type",
    Enum = "enum",
    OutOfRange = "out-of-range",
    ConflictingKeys = "conflicting-keys",
    Refused = "refused",
    CutOffArguments = "cut-off-arguments",
    ModuleNames = "module-names",
    MissingFile = "missing-file",
    PrivatePath = "private-path",
    Secret = "secret",
    Schema = "schema",
    LoraSettings = "lora-settings",
    Estimate = "estimate",
    Smoke = "smoke",
    Train = "train",
    // Data sets.
    DataCaptions = "data-captions",
    DataColumns = "data-columns",
    DataFolders = "data-folders",
    DataHidden = "data-hidden",
    DataImages = "data-images",
    DataLfs = "data-lfs",
    DataSizes = "data-sizes",
    // The `.travis.yml` as a whole.
    NoConfig = "no-config",
    EmptyConfig = "empty-config",
    ConfigTooLarge = "config-too-large",
    NotAMap = "not-a-map",
    NoJobs = "no-jobs",
    TooManyJobs = "too-many-jobs",
    TooManyProblems = "too-many-problems",
    UnknownAlias = "unknown-alias",
    FailedImport = "failed-import",
    RemoteImport = "remote-import",
    TooManyImports = "too-many-imports",
    ImportsTooLarge = "imports-too-large",
    InvalidRef = "invalid-ref",
    // Traps: valid, and still not what was meant.
    EnvListSplitsVariables = "env-list-splits-variables",
    EnvValueCut = "env-value-cut",
    RepeatedVariable = "repeated-variable",
    UndefinedVariable = "undefined-variable",
    ConstantCondition = "constant-condition",
    ConditionNeverHolds = "condition-never-holds",
    ConditionAlwaysHolds = "condition-always-holds",
    DeploymentNeverRuns = "deployment-never-runs",
    IncompleteDeployment = "incomplete-deployment",
    EmptyHeredoc = "empty-heredoc",
    ProgressBar = "progress-bar",
    MissingScript = "missing-script",
    NumberLosesZero = "number-loses-zero",
    PlainSecret = "plain-secret",
    // What differs from Travis.
    OwnKey = "own-key",
    AddonWithoutEffect = "addon-without-effect",
    ServiceWithoutEffect = "service-without-effect",
    CacheWithoutEffect = "cache-without-effect",
    ProviderWithoutEffect = "provider-without-effect",
    // What Travis makes of keys and values.
    AliasKey = "alias-key",
    AliasValue = "alias-value",
    StripKey = "strip-key",
    UnderscoreKey = "underscore-key",
    CleanKey = "clean-key",
    FindKey = "find-key",
    CleanValue = "clean-value",
    FindValue = "find-value",
    Downcase = "downcase",
    Default = "default",
    DeprecatedKey = "deprecated-key",
    DeprecatedValue = "deprecated-value",
    Duplicate = "duplicate",
    Edge = "edge",
    Empty = "empty",
    InvalidCondition = "invalid-condition",
    InvalidEnvVar = "invalid-env-var",
    InvalidFormat = "invalid-format",
    InvalidType = "invalid-type",
    Overwrite = "overwrite",
    Required = "required",
    TooManyVars = "too-many-vars",
    UnexpectedSeq = "unexpected-seq",
    UnknownValue = "unknown-value",
    UnknownVar = "unknown-var",
    Unsupported = "unsupported",
    SkipImport = "skip-import",
    SkipJob = "skip-job",
    SkipStage = "skip-stage",
    SkipExclude = "skip-exclude",
    SkipAllowFailure = "skip-allow-failure",
    SkipNotification = "skip-notification",
}

impl Rule {
    /// Returns the rule with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// Returns the rules whose names resemble a wrong one, the nearest first.
    pub fn nearest(name: &str) -> Vec<Self> {
        const MOST: usize = 3;
        let resembles = |rule: &Self| {
            let parts = |name: &str| name.split('-').map(str::to_owned).collect::<Vec<_>>();
            let shared = parts(name).iter().filter(|part| parts(rule.name()).contains(part)).count();
            let distance = strsim::osa_distance(name, rule.name());
            (distance <= 3 || shared > 0).then_some((distance, *rule))
        };
        let mut near: Vec<_> = Self::ALL.iter().filter_map(resembles).collect();
        near.sort();
        near.into_iter().map(|(_, rule)| rule).take(MOST).collect()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_name_and_near_it() {
        assert!(Rule::ALL.iter().all(|rule| Rule::named(rule.name()) == Some(*rule)));
        assert_eq!(Rule::nearest("unknwon-kye")[0], Rule::UnknownKey);
        assert_eq!(Rule::nearest("misssing-required"), [Rule::MissingRequired, Rule::Required]);
        assert_eq!(Rule::nearest("xylophone"), []);
    }
}
