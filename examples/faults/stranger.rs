//! Commits of a stranger who wants all of the planner's time, of the disk or of its inodes.

use std::io::Read as _;

use crate::load::End;
use crate::support::git_host::Repo;
use crate::support::hostile;

/// Bytes of a pack that the service must not fetch.
const LARGE: u64 = 2 * crate::yard::MAX_FETCH;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stranger {
    /// Its plan takes minutes.
    SlowPlan,
    /// Its pack is larger than the service may fetch.
    LargePack,
    /// Its tree has more files than the disk has inodes, in a small pack.
    ManyFiles,
}

impl Stranger {
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowPlan => "a stranger's commit takes minutes to plan",
            Self::LargePack => "a stranger's pack is too large",
            Self::ManyFiles => "a stranger's tree has 10,000 files",
        }
    }

    /// Returns the name of the stranger's repository.
    pub fn repo(self) -> &'static str {
        match self {
            Self::SlowPlan => "mallory/slow",
            Self::LargePack => "mallory/large",
            Self::ManyFiles => "mallory/many",
        }
    }

    /// Returns the end of the stranger's builds. A pack that has come in full when the service dies is not measured any
    /// more: it takes no further room. Files of a large tree are written in the job's container, so they take nothing of
    /// the service's disk.
    pub fn end(self) -> End {
        match self {
            Self::SlowPlan => End::Errored,
            Self::LargePack => End::Any,
            Self::ManyFiles => End::Passed,
        }
    }

    /// Adds the files to the empty index.
    pub fn stage(self, repo: &Repo) {
        match self {
            Self::SlowPlan => hostile::write_planning_bomb(|path, text| repo.write(path, text)),
            Self::LargePack | Self::ManyFiles => repo.write(".travis.yml", "language: shell\nscript: true\n"),
        }
        if self == Self::LargePack {
            let mut bytes = Vec::new();
            std::fs::File::open("/dev/urandom").unwrap().take(LARGE).read_to_end(&mut bytes).unwrap();
            std::fs::write(repo.work().join("large"), bytes).unwrap();
        }
        repo.git(&["add", "--all"]);
        if self == Self::ManyFiles {
            repo.git(&["read-tree", "--prefix=many/", &many_files(repo)]);
        }
    }
}

/// Makes a tree of 10,000 files from three objects. Returns its id.
fn many_files(repo: &Repo) -> String {
    let list = repo.bare.join("list");
    let mut entry = format!("100644 blob {}", repo.git(&["hash-object", "-w", ".travis.yml"]));
    for _ in 0..2 {
        let lines: String = (0..100).map(|n| format!("{entry}\t{n}\n")).collect();
        std::fs::write(&list, lines).unwrap();
        entry = format!("040000 tree {}", repo.git_with_input(&["mktree"], &list));
    }
    entry.rsplit(' ').next().unwrap().to_owned()
}
