//! The files of a smoke job, written into a folder without a container. `scripts/trainers` runs real trainers on them.
//!
//! `smoke derive CONFIG FOLDER [COMMAND]` writes the derived config, mock model and data. It prints the variables and the
//! command that run it from the folder of the trainer, as lines for bash. `smoke mock KIND FOLDER` writes a mock.
//! `smoke train CONFIG` prints the command of a train job.

use std::error::Error;
use std::fs;
use std::path::Path;

use trainyard_lora::mock::{File, Kind};
use trainyard_lora::smoke::{Ask, derive};
use trainyard_lora::train::training;
use trainyard_lora::{Repository, Train};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["mock", kind, folder] => {
            let known = Kind::all().find(|known| known.name() == *kind).ok_or("there is no such kind")?;
            write(Path::new(folder), &known.files())
        }
        ["derive", config, folder, command @ ..] => {
            let ask = Ask { command: command.first().map(|&command| command.to_owned()), ..Ask::default() };
            let name = Path::new(config).file_name().and_then(|name| name.to_str()).ok_or("a path without a name")?;
            let smoke = derive(name, &fs::read(config)?, &ask, &Repository::default(), folder)?;
            write(Path::new(folder), &smoke.files)?;
            for (name, value) in &smoke.environment {
                println!("export {name}='{value}'");
            }
            println!("{}", smoke.command);
            Ok(())
        }
        ["train", config] => {
            let text = fs::read(config)?;
            // A derived config names its output folder by its whole path.
            let asked = Train { output: Some("output".to_owned()), ..Train::default() };
            println!("{}", training(config, &text, &asked, &[], None, &Repository::default())?.command);
            Ok(())
        }
        _ => Err("smoke derive CONFIG FOLDER [COMMAND], smoke mock KIND FOLDER, or smoke train CONFIG".into()),
    }
}

fn write(folder: &Path, files: &[File]) -> Result<(), Box<dyn Error>> {
    for file in files {
        let path = folder.join(&file.path);
        fs::create_dir_all(path.parent().ok_or("a file without a folder")?)?;
        fs::write(path, &file.bytes)?;
    }
    Ok(())
}
