//! `trainyard login`, `logout` and `servers`.

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::client::{Client, typed};
use super::servers::{Server, Servers};
use super::session::{check_exposure, usage};
use super::{print_json, print_table};
use crate::cli::prompt::{ask, read_line};
use crate::cli::table::Table;
use crate::cli::{FINE, print};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LoginArguments {
    /// The server's address, such as https://ci.example.org.
    #[arg(value_name = "URL")]
    server: Address,
    /// Read the token from standard input rather than from the terminal.
    #[arg(long)]
    token_stdin: bool,
    /// Let the token go over plain HTTP to another machine, where everyone on the way can read it.
    #[arg(long)]
    insecure_http: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LogoutArguments {
    /// The server's address. Without it, the default one.
    #[arg(value_name = "URL")]
    server: Option<Address>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ServersArguments {
    /// Make this server the default one.
    #[arg(long, value_name = "URL")]
    default: Option<Address>,
    /// Print JSON, without the tokens.
    #[arg(long)]
    json: bool,
}

/// The owner of a token.
#[derive(Debug, Deserialize)]
struct Me {
    /// `None` if the server does not know the token.
    name: Option<String>,
}

pub(super) async fn log_in(arguments: &LoginArguments) -> anyhow::Result<u8> {
    let address = &arguments.server;
    check_exposure(address, arguments.insecure_http)?;
    let token = match arguments.token_stdin {
        true => read_line()?,
        false => {
            eprintln!("Make a token at {}.", address.at(&["settings", "tokens"]));
            ask("Token: ")?
        }
    };
    check(&token)?;
    let client = Client::new(address.clone(), Some(token.clone()))?;
    let me: Me = typed(&client, client.get(&["me"], &[]).await?)?;
    let name = me.name.with_context(|| format!("{address} does not know this token"))?;
    let mut servers = Servers::load()?;
    servers.put(Server::new(address.clone(), name.clone(), &token, arguments.insecure_http));
    let path = servers.save()?;
    print(&format!("You are {name} at {address}. The token is in {}.\n", path.display()))?;
    Ok(FINE)
}

/// Refuses what cannot be a token, such as the output of a command that failed.
fn check(token: &SecretString) -> anyhow::Result<()> {
    let token = token.expose_secret();
    ensure!(!token.is_empty(), "there is no token");
    ensure!(token.bytes().all(|byte| byte.is_ascii_graphic()), "a token has letters, digits and signs, without spaces");
    Ok(())
}

pub(super) fn log_out(arguments: &LogoutArguments) -> anyhow::Result<u8> {
    let mut servers = Servers::load()?;
    let address = arguments.server.clone().or_else(|| servers.default().map(|server| server.address.clone()));
    let address = address.ok_or_else(|| usage("you are not logged in to any server"))?;
    if !servers.remove(&address) {
        return Err(usage(&format!("you are not logged in to {address}")));
    }
    servers.save()?;
    let tokens = address.at(&["settings", "tokens"]);
    print(&format!("The token for {address} is no longer here. It still exists: remove it at {tokens}.\n"))?;
    Ok(FINE)
}

pub(super) fn servers(arguments: &ServersArguments) -> anyhow::Result<u8> {
    let mut servers = Servers::load()?;
    if let Some(address) = &arguments.default {
        if !servers.set_default(address) {
            return Err(usage(&format!("you are not logged in to {address}")));
        }
        servers.save()?;
    }
    let is_default = |server: &Server| servers.default().is_some_and(|default| default.address == server.address);
    if arguments.json {
        let described = |server: &Server| json!({ "url": server.address.to_string(), "name": server.name, "default": is_default(server) });
        return print_json(&json!({ "servers": servers.all().iter().map(described).collect::<Vec<Value>>() }));
    }
    let mut table = Table::new(["SERVER", "YOU ARE", ""]);
    for server in servers.all() {
        let default = if is_default(server) { "default" } else { "" };
        table.push(vec![server.address.to_string(), server.name.clone(), default.to_owned()]);
    }
    print_table(&table, "You are not logged in to any server: trainyard login URL.")
}
