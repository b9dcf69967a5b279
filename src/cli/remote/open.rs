//! `trainyard open`.

use std::process::Stdio;
use std::time::Duration;

use url::Url;

use super::session::{Named, Target};
use crate::child;
use crate::cli::{FINE, print};

/// Variables that a program with a window needs.
const OF_DESKTOP: [&str; 10] = [
    "HOME",
    "BROWSER",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_CURRENT_DESKTOP",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "DBUS_SESSION_BUS_ADDRESS",
];
/// Time for a browser's start. Some openers stay as long as the browser.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The build, such as 12, or one of its jobs, such as 12.3. Without it, the newest build of what is checked out here.
    #[arg(value_name = "BUILD")]
    named: Option<Named>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let number = session.number(arguments.named).await?;
    let page = session.page(number, arguments.named.and_then(|named| named.job).map(i64::from));
    if !in_browser(&page).await {
        print(&format!("{page}\n"))?;
    }
    Ok(FINE)
}

/// Opens a page in a browser. Returns false if there is none.
pub(super) async fn in_browser(page: &Url) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(is_set) {
        return false;
    }
    let mut command = child::command("xdg-open", &OF_DESKTOP);
    let command = command.arg(page.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => true,
    }
}
