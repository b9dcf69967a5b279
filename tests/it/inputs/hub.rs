//! Data sets and models from the Hugging Face Hub, with the tokens of some and for their repositories alone.

use trainyard::inputs::InputError;

use super::world::{config, fetch, inputs, noise, sha256};
use crate::support::hub::{Blob, HubServer, TOKEN};
use crate::support::trouble::Fault;

const REPO: &str = "acme/styles";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10";

fn section(hub: &HubServer) -> String {
    config(&hub.inputs_section(TOKEN))
}

#[tokio::test]
async fn a_data_set_comes_with_all_its_files_and_the_token_stays_with_the_hub() {
    let (hub, folder) = (HubServer::start().await, tempfile::tempdir().unwrap());
    let large = noise(100_000);
    let files = [
        ("train/a.png", Blob::large(PNG)),
        ("train/a.txt", Blob::regular("a cat")),
        ("train/deep/b c ü.png", Blob::regular(PNG)),
        ("train/deep/b c ü.txt", Blob::regular("a dog")),
        ("extra.bin", Blob::large(large.clone())),
        ("empty", Blob::regular("")),
    ];
    let commit = hub.make_of("datasets/acme/style", &files);
    let inputs = inputs(folder.path(), &section(&hub));
    let whole = fetch(&inputs, REPO, "hf://datasets/acme/style", None).await.unwrap();
    assert_eq!((whole.revision.as_str(), whole.files, whole.file_name.clone()), (commit.as_str(), 7, None));
    assert!(std::fs::read(whole.path.join("extra.bin")).unwrap() == large);
    assert_eq!(std::fs::read_to_string(whole.path.join("train/deep/b c ü.txt")).unwrap(), "a dog");
    assert_eq!(hub.wrong(), Vec::<String>::new(), "the storage sees no token");
    let part = fetch(&inputs, REPO, &format!("hf://datasets/acme/style@{commit}/train"), None).await.unwrap();
    assert_eq!(part.files, 4);
    assert!(part.path.join("deep/b c ü.png").exists());
    let file = fetch(&inputs, REPO, "hf://datasets/acme/style@main/extra.bin", None).await.unwrap();
    assert_eq!((file.digest.as_str(), file.file_name.as_deref()), (sha256(&large).as_str(), Some("extra.bin")));
    let before = hub.trouble.asked().len();
    fetch(&inputs, REPO, &format!("hf://datasets/acme/style@{commit}"), None).await.unwrap();
    assert_eq!(hub.trouble.asked().len(), before, "a commit that is here needs no request");
}

#[tokio::test]
async fn what_a_token_has_fetched_is_for_its_repositories_alone() {
    let (hub, folder) = (HubServer::start().await, tempfile::tempdir().unwrap());
    let commit = hub.make_of("acme/base", &[("model.bin", Blob::large(noise(1000)))]);
    let inputs = inputs(folder.path(), &section(&hub));
    let from = format!("hf://acme/base@{commit}");
    fetch(&inputs, REPO, &from, None).await.unwrap();
    let error = fetch(&inputs, "mallory/styles", &from, None).await.unwrap_err();
    assert!(matches!(error, InputError::Token(_)), "{error}");
    assert!(!error.to_string().contains(TOKEN));
}

#[tokio::test]
async fn each_refusal_of_the_hub_has_its_name() {
    let (hub, folder) = (HubServer::start().await, tempfile::tempdir().unwrap());
    let commit = hub.make_of("acme/base", &[("model.bin", Blob::large(noise(1000)))]);
    let inputs = inputs(folder.path(), &section(&hub));
    let from = format!("hf://acme/base@{commit}");
    for (kind, status, code, told) in [
        ("GET tree", 403, "GatedRepo", "gated repository: "),
        ("GET tree", 404, "RevisionNotFound", "revision gone: "),
        ("GET tree", 401, "RepoNotFound", "missing repository: "),
        ("GET tree", 401, "", "wrong or expired token: "),
        ("GET resolve", 403, "GatedRepo", "gated repository: "),
    ] {
        let code: &'static [(&str, &str)] = match code {
            "GatedRepo" => &[("x-error-code", "GatedRepo")],
            "RevisionNotFound" => &[("x-error-code", "RevisionNotFound")],
            "RepoNotFound" => &[("x-error-code", "RepoNotFound")],
            _ => &[],
        };
        hub.trouble.will_fail(kind, &[Fault::Refuse(status, code)]);
        let error = fetch(&inputs, REPO, &from, None).await.unwrap_err().to_string();
        assert!(error.starts_with(told), "{error}");
    }
    let error = fetch(&inputs, REPO, "hf://acme/other@main", None).await.unwrap_err();
    assert!(matches!(error, InputError::Missing(_)), "{error}");
    let error = fetch(&inputs, REPO, &format!("{from}/unet"), None).await.unwrap_err().to_string();
    assert!(error.starts_with("missing repository: acme/base has no unet at "), "{error}");
    hub.trouble.will_fail(
        "GET tree",
        &[Fault::Refuse(503, &[]), Fault::Refuse(429, &[("retry-after", "1")]), Fault::LoseAnswer],
    );
    fetch(&inputs, REPO, &from, None).await.unwrap();
}

#[tokio::test]
async fn data_with_which_nothing_can_be_trained_are_refused() {
    let (hub, folder) = (HubServer::start().await, tempfile::tempdir().unwrap());
    let inputs = inputs(folder.path(), &section(&hub));
    for (name, files, told) in [
        (
            "empty",
            vec![("README.md", Blob::regular("x"))],
            "empty data set: it has no files but .gitattributes, README.md",
        ),
        ("broken", vec![("a.png", Blob::large("<html>"))], "unusable files: 1 of its files cannot be read: a.png"),
        (
            "bare",
            vec![("a.png", Blob::large(PNG)), ("a.txt", Blob::regular("x")), ("b.png", Blob::large(PNG))],
            "unusable files: 1 of 2 images have no caption, unlike the others: b.png",
        ),
        ("odd", vec![("../a.png", Blob::large(PNG))], "refused: "),
    ] {
        hub.make_of(&format!("datasets/acme/{name}"), &files);
        let error =
            fetch(&inputs, REPO, &format!("hf://datasets/acme/{name}@main"), None).await.unwrap_err().to_string();
        assert!(error.starts_with(told), "{name}: {error}");
    }
    assert!(!folder.path().join("a.png").exists() && !folder.path().join("inputs/a.png").exists());
}
