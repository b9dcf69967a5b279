//! Reasons why cases differ from Travis's own result. A case is named by its index in the corpus, or by its file.

/// Cases of a corpus that differ for the same reason.
pub struct Difference {
    pub corpus: &'static str,
    pub cases: &'static [&'static str],
    pub reason: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        corpus: "imports",
        cases: &["30", "40", "50", "60", "68", "69", "77"],
        reason: "the specs give the mode as a symbol, so Travis reads the files first that the request then replaces",
    },
    Difference {
        corpus: "imports",
        cases: &["1", "5", "70", "71", "74", "75"],
        reason: "Travis has an option that it does not run with, `merge_normalized`, to merge a script as a list",
    },
    Difference {
        corpus: "imports",
        cases: &["6", "7"],
        reason: "the corpus has lost the text of the file that the result comes from: it holds that of the one importing it",
    },
    Difference {
        corpus: "imports",
        cases: &["20"],
        reason: "Travis reads in threads, so it is chance which of too many files it has read",
    },
    Difference {
        corpus: "valid verdict and config",
        cases: &["167", "168"],
        reason: "`conditions: v0` chooses the grammar of 2017, which is not built: the condition is read by the present one",
    },
    Difference {
        corpus: "valid messages",
        cases: &["167", "168"],
        reason: "`conditions: v0` chooses the grammar of 2017, which is not built: the condition is read by the present one",
    },
    Difference {
        corpus: "valid verdict and config",
        cases: &["1240"],
        reason: "only Travis makes machine images, whose names `vm.create` tells apart",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1240"],
        reason: "only Travis makes machine images, whose names `vm.create` tells apart",
    },
    Difference {
        corpus: "valid verdict and config",
        cases: &["1049"],
        reason: "Travis takes a secret with a second key for a map of channel settings with two unknown keys",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1049"],
        reason: "Travis takes a secret with a second key for a map of channel settings with two unknown keys",
    },
    Difference {
        corpus: "valid verdict and config",
        cases: &["1102"],
        reason: "Travis takes a map of unknown keys for the address of a webhook",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1102"],
        reason: "Travis takes a map of unknown keys for the address of a webhook",
    },
    Difference {
        corpus: "valid messages",
        cases: &["511"],
        reason: "Travis does not tell of an unknown key of a deployment without a provider",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1026"],
        reason: "Travis tells of the type of the secret, here of the key `secure` that is not known in its place",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1110", "1111"],
        reason: "Travis quotes the list's first item after its keys were mended, here it is quoted as written",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1113", "1114"],
        reason: "Travis tells of a frequency that is handed down a second time in the channel that gets it",
    },
    Difference {
        corpus: "valid messages",
        cases: &["1115"],
        reason: "Travis does not tell that `:change` is read as `change` when the key was mended, too",
    },
    Difference {
        corpus: "real configs",
        cases: &["alphagov__govuk-prototype-kit.yml"],
        reason: "the reference lost all letters that are not ASCII",
    },
    Difference {
        corpus: "real jobs",
        cases: &["alphagov__govuk-prototype-kit.yml"],
        reason: "the reference lost all letters that are not ASCII",
    },
    Difference {
        corpus: "real configs",
        cases: &["scube-dev__scube-server.yml"],
        reason: "Travis loses `on_success: never` beside a list of addresses; here it is handed down to them as elsewhere",
    },
    Difference {
        corpus: "real configs",
        cases: &["tainacan__tainacan.yml"],
        reason: "the reference lost all letters that are not ASCII, and did not mend the key `ssh_know_hosts`",
    },
    Difference {
        corpus: "real jobs",
        cases: &["tainacan__tainacan.yml"],
        reason: "the reference lost all letters that are not ASCII, and did not mend the key `ssh_know_hosts`",
    },
    Difference {
        corpus: "real messages",
        cases: &["tainacan__tainacan.yml"],
        reason: "the reference lost all letters that are not ASCII, and did not mend the key `ssh_know_hosts`",
    },
    Difference {
        corpus: "real configs",
        cases: &["travis-ci__travis-scheduler.yml"],
        reason: "Travis keeps `addons` as a list, which it cannot read later; here the first map of the list counts",
    },
    Difference {
        corpus: "real jobs",
        cases: &["travis-ci__travis-scheduler.yml"],
        reason: "Travis keeps `addons` as a list, which it cannot read later; here the first map of the list counts",
    },
    Difference {
        corpus: "real messages",
        cases: &["travis-ci__travis-scheduler.yml"],
        reason: "Travis keeps `addons` as a list, which it cannot read later; here the first map of the list counts",
    },
    Difference {
        corpus: "real jobs",
        cases: &["travis-ci__docs-travis-ci-com.yml"],
        reason: "Travis drops a variable named `global` from a job's `env`; here it is a variable like others",
    },
    Difference {
        corpus: "real jobs",
        cases: &["wix__yoshi.yml"],
        reason: "an included job's `env` without any variable is empty here and holds an empty map there",
    },
    Difference {
        corpus: "real messages",
        cases: &["acsone__account-financial-tools.yml"],
        reason: "Travis names the place `env.jobs.matrix`, by the alias that the file uses",
    },
    Difference {
        corpus: "real messages",
        cases: &["hipages__inceptum.yml"],
        reason: "Travis names the place `services.service`, a key that is not in the file",
    },
    Difference {
        corpus: "real messages",
        cases: &[
            "CometVisu__CometVisu.yml",
            "SAP__jenkins-library.yml",
            "apache__thrift.yml",
            "clab__dynet.yml",
            "dask__dask.yml",
            "francisco-dlp__hyperspy.yml",
            "mysteriumnetwork__node.yml",
            "nengo__nengo-dl.yml",
            "peuter__CometVisu.yml",
            "pytorch__ignite.yml",
            "ringcentral__ringcentral-js-widgets.yml",
            "samuelfernandez__portfolio.yml",
            "travis-ci__docs-travis-ci-com.yml",
            "travis-ci__travis.rb.yml",
            "travis-ci__worker.yml",
            "wix__yoshi.yml",
        ],
        reason: "Travis says number 1 for each job that a condition leaves out, here it is the job's number",
    },
    Difference {
        corpus: "real messages",
        cases: &["sunpy__sunpy.yml"],
        reason: "Travis does not tell of jobs that the root's condition leaves out",
    },
];
