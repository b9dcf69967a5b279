//! A browser without pages: it keeps cookies, follows nothing by itself, and says where its requests come from.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::{Client, Method, Response, redirect::Policy};
use url::Url;

pub struct Visitor {
    client: Client,
    base: String,
    pub cookies: Mutex<BTreeMap<String, String>>,
}

impl Visitor {
    pub fn new(base: &str) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { client, base: base.to_owned(), cookies: Mutex::default() }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Response {
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            match rest.contains("Max-Age=0") {
                true => drop(cookies.remove(name)),
                false => drop(cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        answer
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], String::new()).await
    }

    pub async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    pub async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Sends a form as a page of the server does.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        self.post_from(path, fields, &[("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form with these headers.
    pub async fn post_from(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, path, &[&form, headers].concat(), body).await
    }

    /// Returns the text that forms of a page send back.
    pub async fn csrf(&self, path: &str) -> String {
        let page = self.text(path).await;
        let (_, rest) = page.split_once("name=\"csrf\" content=\"").expect("somebody is logged in");
        rest.split('"').next().unwrap().to_owned()
    }

    /// Goes to GitHub as the server says. Returns the path and query with which GitHub sends the browser back.
    pub async fn to_github(&self, return_to: &str) -> String {
        let begun = self.get(&format!("/login/github?return_to={return_to}")).await;
        assert_eq!(begun.status().as_u16(), 303);
        let answer = self.client.get(begun.headers()["location"].to_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 302, "{}", answer.text().await.unwrap());
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        back[url::Position::BeforePath..].to_owned()
    }

    /// Logs in with GitHub, as whoever is logged in there.
    pub async fn log_in_with_github(&self, return_to: &str) -> Response {
        let back = self.to_github(return_to).await;
        self.get(&back).await
    }

    pub async fn log_in(&self, name: &str, password: &str) -> Response {
        self.post("/login", &[("name", name), ("password", password), ("return_to", "/")]).await
    }

    /// Begins a registration of a GitHub App, and lets GitHub make it. Returns the path and query with which GitHub sends
    /// the browser back.
    pub async fn to_registration(&self, fields: &[(&str, &str)]) -> String {
        let csrf = self.csrf("/setup").await;
        let origin = [("sec-fetch-site", "same-origin"), ("origin", self.base.as_str())];
        let begun = self.post_from("/setup/github", &[&[("csrf", csrf.as_str())], fields].concat(), &origin).await;
        let (status, page) = (begun.status().as_u16(), begun.text().await.unwrap());
        assert_eq!(status, 200, "{page}");
        let (action, manifest) = {
            let html = scraper::Html::parse_document(&page);
            let value = |selector: &str, name: &str| {
                let found = html.select(&scraper::Selector::parse(selector).unwrap()).next().unwrap();
                found.value().attr(name).unwrap().to_owned()
            };
            (value("main form", "action"), value("input[name=manifest]", "value"))
        };
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("manifest", &manifest).finish();
        let request = self.client.post(action).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.unwrap();
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        back[url::Position::BeforePath..].to_owned()
    }

    /// Registers a GitHub App.
    pub async fn register(&self, fields: &[(&str, &str)]) {
        let back = self.to_registration(fields).await;
        let answer = self.get(&back).await;
        assert_eq!(answer.status().as_u16(), 303, "{}", answer.text().await.unwrap());
    }
}
