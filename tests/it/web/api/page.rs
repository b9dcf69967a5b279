//! `/api` in a real browser.

use thirtyfour::prelude::*;
use tokio_util::sync::CancellationToken;
use trainyard::web;

use super::super::browser::Browser;
use super::world::World;
use crate::support::web as support;

/// Stores what the browser shows in the folder that a person has named, to be looked at.
async fn picture(browser: &Browser, name: &str) {
    if let Ok(folder) = std::env::var("TRAINYARD_TEST_SCREENSHOTS") {
        browser.driver.screenshot(&std::path::Path::new(&folder).join(format!("{name}.png"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_every_operation_and_tries_reads() {
    let world = World::new().await;
    world.finished(world.open).await;
    let shutdown = CancellationToken::new();
    let (address, _serving) = support::serve(world.state.clone(), web::Bounds::default(), &shutdown).await;
    let browser = Browser::start().await;
    let driver = &browser.driver;
    driver.set_window_rect(0, 0, 1200, 1400).await.unwrap();
    driver.goto(format!("http://{address}/api")).await.unwrap();
    picture(&browser, "api").await;
    let operations = driver.find_all(By::Css("section details.operation .method")).await.unwrap();
    let described = web::routes().into_iter().filter(|route| route.path.starts_with("/api/v1/")).count();
    assert_eq!(operations.len(), described);

    let listed = driver.find(By::Id("listBuilds")).await.unwrap();
    listed.find(By::Css("summary")).await.unwrap().click().await.unwrap();
    let fill = async |name: &str, value: &str| {
        let input = listed.find(By::Css(format!("form input[name={name}]"))).await.unwrap();
        input.send_keys(value).await.unwrap();
    };
    fill("owner", "acme").await;
    fill("repo", "open").await;
    fill("limit", "1").await;
    listed.find(By::Css("form button")).await.unwrap().click().await.unwrap();
    let answer = listed.find(By::Css("output pre")).await.unwrap();
    let line = listed.find(By::Css("output p")).await.unwrap();
    for _ in 0..100 {
        if !answer.text().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let line = line.text().await.unwrap();
    assert_eq!(line, "GET /api/v1/repos/acme/open/builds?limit=1 → 200 OK");
    assert!(answer.text().await.unwrap().contains("\"state\": \"passed\""));
    picture(&browser, "api-open").await;

    // A link to a type opens it.
    listed.find(By::Css("a[href='#type-BuildList']")).await.unwrap().click().await.unwrap();
    let opened = driver.find(By::Id("type-BuildList")).await.unwrap();
    assert!(opened.is_displayed().await.unwrap());
    assert_eq!(opened.attr("open").await.unwrap().as_deref(), Some("true"));
    let fields = opened.text().await.unwrap();
    assert!(fields.contains("list of Build"), "{fields}");
    picture(&browser, "api-type").await;
    driver.set_window_rect(0, 0, 420, 900).await.unwrap();
    driver.goto(format!("http://{address}/api#getBuild")).await.unwrap();
    picture(&browser, "api-narrow").await;
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(
        driver.execute(overflow, Vec::new()).await.unwrap().convert::<i64>().unwrap(),
        0,
        "the page is too wide"
    );
    browser.stop().await;
    shutdown.cancel();
}
