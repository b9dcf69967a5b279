//! Attacks on the setup of a fresh service: on its link, and on the registration of its GitHub App.

use crate::support::app::App;
use crate::support::people::visitor::Visitor;

const PASSWORD: &str = "correct horse battery";

/// Starts a fresh service, where nobody can log in.
async fn fresh() -> App {
    let app = App::start("[github]\ntoken = ''\nwebhook_secret = ''\n").await;
    assert_eq!(app.get("/healthz").await.0, 200);
    app
}

/// Makes a link. Returns its secret.
async fn key(app: &App) -> String {
    let path = trainyard::web::make_link(&app.db).await.unwrap();
    path.split_once("key=").unwrap().1.to_owned()
}

/// Sends the form of the link. Returns the status.
async fn start(visitor: &Visitor, key: &str, name: &str, headers: &[(&str, &str)]) -> u16 {
    let fields = [("key", key), ("name", name), ("password", PASSWORD), ("again", PASSWORD)];
    visitor.post_from("/setup/start", &fields, headers).await.status().as_u16()
}

const OURS: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

async fn people(app: &App) -> Vec<String> {
    sqlx::query_scalar("select name from person order by id").fetch_all(&app.db).await.unwrap()
}

async fn apps(app: &App) -> i64 {
    sqlx::query_scalar("select count(*) from github_app").fetch_one(&app.db).await.unwrap()
}

/// Makes an operator by the link, and returns their browser.
async fn operator(app: &App) -> Visitor {
    let anna = Visitor::new(&app.base);
    assert_eq!(start(&anna, &key(app).await, "anna", OURS).await, 303);
    anna
}

#[tokio::test]
async fn nobody_is_made_an_operator_without_the_secret_of_the_link() {
    let app = fresh().await;
    let good = key(&app).await;
    assert!(good.len() >= 43, "256 bits");
    let stored: Vec<u8> = sqlx::query_scalar("select digest from setup_link").fetch_one(&app.db).await.unwrap();
    let stranger = Visitor::new(&app.base);
    let digest = hex::encode(&stored);
    for wrong in ["", "guess", &good[1..], &format!("{good}x"), &good.to_lowercase(), &digest] {
        assert_eq!(start(&stranger, wrong, "eve", OURS).await, 403, "{wrong}");
        assert_eq!(stranger.status(&format!("/setup/start?key={wrong}")).await, 403, "{wrong}");
    }
    // The other pages of the setup are for operators, and there is none.
    assert_eq!(stranger.status("/setup").await, 303);
    assert_eq!(stranger.status("/setup/github/callback?code=x&state=x").await, 303);
    assert_eq!(stranger.post("/setup/github", &[]).await.status().as_u16(), 401);
    assert!(!stranger.text("/").await.contains("class=\"card steps\""), "the steps are not for everyone");
    assert_eq!((people(&app).await, apps(&app).await), (vec![], 0));
    assert_eq!(start(&stranger, &good, "anna", OURS).await, 303, "the secret alone counts");
    app.stop().await;
}

#[tokio::test]
async fn another_site_cannot_use_the_link() {
    let app = fresh().await;
    let key = key(&app).await;
    let victim = Visitor::new(&app.base);
    // Another site, another port of this machine, a name of the attacker that leads here, and no browser at all.
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "http://rebound.example")],
        &[("origin", "null")],
        &[],
    ] {
        assert_eq!(start(&victim, &key, "eve", headers).await, 403, "{headers:?}");
    }
    assert_eq!(people(&app).await, Vec::<String>::new());
    app.stop().await;
}

#[tokio::test]
async fn a_link_is_good_once_and_for_a_while_and_the_last_one_alone() {
    let app = fresh().await;
    let (first, second) = (key(&app).await, key(&app).await);
    let eve = Visitor::new(&app.base);
    assert_eq!(start(&eve, &first, "eve", OURS).await, 403, "another was made");
    let age = "update setup_link set made_at = now() - interval '25 hours'";
    sqlx::query(age).execute(&app.db).await.unwrap();
    assert_eq!(start(&eve, &second, "eve", OURS).await, 403, "too old");
    let third = key(&app).await;
    let eves: Vec<_> = (0..8).map(|_| Visitor::new(&app.base)).collect();
    let racing = eves.iter().enumerate().map(|(n, eve)| {
        let (third, name) = (third.clone(), format!("racer-{n}"));
        async move { start(eve, &third, &name, OURS).await }
    });
    let answers = futures::future::join_all(racing).await;
    assert_eq!(answers.iter().filter(|status| **status == 303).count(), 1, "{answers:?}");
    assert_eq!(people(&app).await.len(), 1);
    // Somebody can log in now: even a new link, which no command would make, is nothing.
    let late = key(&app).await;
    assert_eq!(start(&eve, &third, "eve", OURS).await, 404, "used");
    assert_eq!(start(&eve, &late, "eve", OURS).await, 404);
    assert_eq!(eve.status(&format!("/setup/start?key={late}")).await, 404);
    let refused = trainyard::store::people::setup_link::spend(&app.db, &sha256(&late), "eve", "x").await.unwrap();
    assert_eq!(refused, None, "the transaction itself refuses");
    assert_eq!(people(&app).await.len(), 1);
    app.stop().await;
}

fn sha256(text: &str) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).to_vec()
}

#[tokio::test]
async fn a_user_who_was_made_on_the_machine_ends_the_link() {
    let app = fresh().await;
    let key = key(&app).await;
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    assert!(trainyard::store::people::persons::insert_local(&app.db, "anna", &hash, true).await.unwrap());
    assert!(trainyard::store::people::persons::remove_local(&app.db, "anna").await.unwrap());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(start(&Visitor::new(&app.base), &key, "eve", OURS).await, 403, "although nobody can log in again");
    app.stop().await;
}

#[tokio::test]
async fn an_app_comes_from_the_browser_that_asked_for_it_once() {
    let app = fresh().await;
    let anna = operator(&app).await;
    let back = anna.to_registration(&[]).await;
    let (address, query) = back.split_once('?').unwrap();
    let (code, state) = query.split_once('&').unwrap();
    // Another operator, a stranger, and states that are wrong or missing.
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    assert!(trainyard::store::people::persons::insert_local(&app.db, "olga", &hash, true).await.unwrap());
    assert!(trainyard::store::people::persons::insert_local(&app.db, "bob", &hash, false).await.unwrap());
    let (olga, bob) = (Visitor::new(&app.base), Visitor::new(&app.base));
    assert_eq!(olga.log_in("olga", PASSWORD).await.status().as_u16(), 303);
    assert_eq!(bob.log_in("bob", PASSWORD).await.status().as_u16(), 303);
    assert_eq!(olga.status(&back).await, 403, "another browser");
    assert_eq!(bob.status(&back).await, 403, "not an operator");
    assert_eq!((bob.status("/setup").await, bob.status("/setup/start?key=x").await), (403, 404));
    assert!(!bob.text("/").await.contains("class=\"card steps\""));
    assert_eq!(Visitor::new(&app.base).status(&back).await, 303, "to the login");
    for forged in [format!("{address}?{code}"), format!("{address}?{code}&state=guess"), address.to_owned()] {
        assert_eq!(anna.status(&forged).await, 403, "{forged}");
    }
    assert_eq!(apps(&app).await, 0);
    // The right one counts once. GitHub is asked for the code once.
    assert_eq!(anna.status(&back).await, 303);
    assert_eq!(anna.status(&back).await, 403, "replayed");
    let conversions = app.github.app.requests().iter().filter(|it| it.1.contains("conversions")).count();
    assert_eq!((apps(&app).await, conversions), (1, 1));

    // A code that GitHub does not know, or that would lead elsewhere, stores nothing, and ends its registration.
    let back = anna.to_registration(&[("replace", "yes")]).await;
    let state_of = |back: &str| back.rsplit_once('&').unwrap().1.to_owned();
    let wrong = format!("{address}?code=..%2F..%2Fapp&{}", state_of(&back));
    assert_eq!(anna.status(&wrong).await, 409);
    assert_eq!(anna.status(&back).await, 403);
    assert_ne!(state, state_of(&back));
    app.stop().await;
}

#[tokio::test]
async fn a_registration_needs_a_form_of_the_session() {
    let app = fresh().await;
    let anna = operator(&app).await;
    let csrf = anna.csrf("/setup").await;
    for (fields, headers) in [
        (&[][..], OURS),
        (&[("csrf", "guess")], OURS),
        (&[("csrf", csrf.as_str())], &[("sec-fetch-site", "cross-site")][..]),
        (&[("csrf", csrf.as_str())], &[]),
    ] {
        assert_eq!(anna.post_from("/setup/github", fields, headers).await.status().as_u16(), 403, "{fields:?}");
    }
    for organization in ["a/../b", "a?b", "a b", "<b>", &"x".repeat(101)] {
        let fields = [("csrf", csrf.as_str()), ("organization", organization)];
        assert_eq!(anna.post("/setup/github", &fields).await.status().as_u16(), 400, "{organization}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_code_of_github_goes_nowhere_but_here() {
    let app = fresh().await;
    let anna = operator(&app).await;
    let csrf = anna.csrf("/setup").await;
    // What the request claims to come from is where GitHub sends the code, from which the App's key follows.
    for origin in ["https://evil.example", "http://evil.example", "https://127.0.0.1.evil.example", "null", "x"] {
        let headers = [("sec-fetch-site", "same-origin"), ("origin", origin)];
        let page = anna.post_from("/setup/github", &[("csrf", &csrf)], &headers).await;
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let page = page.text().await.unwrap();
        assert!(!page.contains("evil") && !policy.contains("evil"), "{page}");
        assert!(policy.contains("form-action 'self' http://127.0.0.1:"), "{policy}");
        assert!(page.contains("/setup/github/callback"), "{page}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_second_app_takes_no_ones_place() {
    let app = fresh().await;
    let anna = operator(&app).await;
    // Both were begun before either was done.
    let hash = trainyard::passwords::hash(&PASSWORD.into()).unwrap();
    assert!(trainyard::store::people::persons::insert_local(&app.db, "olga", &hash, true).await.unwrap());
    let olga = Visitor::new(&app.base);
    assert_eq!(olga.log_in("olga", PASSWORD).await.status().as_u16(), 303);
    let begun = olga.csrf("/setup").await;
    let page = olga.post("/setup/github", &[("csrf", &begun)]).await.text().await.unwrap();
    let state = page.split_once("state=").unwrap().1.split(['"', '&']).next().unwrap().to_owned();
    anna.register(&[]).await;
    let key = "select private_key from github_app";
    let first: Vec<u8> = sqlx::query_scalar(key).fetch_one(&app.db).await.unwrap();
    // GitHub makes a second App, and its code comes back to the registration that olga began before.
    let other = anna.to_registration(&[("replace", "yes")]).await;
    let code = other.split_once("code=").unwrap().1.split('&').next().unwrap();
    let late = olga.get(&format!("/setup/github/callback?code={code}&state={state}")).await;
    assert_eq!(late.status().as_u16(), 409);
    assert!(late.text().await.unwrap().contains("another App was registered meanwhile"));
    assert_eq!(sqlx::query_scalar::<_, Vec<u8>>(key).fetch_one(&app.db).await.unwrap(), first);
    app.stop().await;
}
