//! Prompts on a terminal.

use std::io::IsTerminal;

use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, Password, Select};

use crate::answers::{Ask, Item};
use crate::error::{Error, Result};

/// Asks on the terminal at standard input; prompts go to standard error, so that standard output
/// keeps to results.
pub struct Terminal {
    theme: ColorfulTheme,
    screen: dialoguer::console::Term,
}

impl Default for Terminal {
    fn default() -> Self {
        Terminal { theme: ColorfulTheme::default(), screen: dialoguer::console::Term::stderr() }
    }
}

/// An error if nobody is there to be asked `prompt`: found only when there is a question, since
/// most runs have none.
fn need_terminal(prompt: &str) -> Result<()> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(Error::usage(format!("there is a question and no terminal to ask it on: {prompt}"))
        .remedy("give --yes, and answers with --set KEY=VALUE or --answers FILE"))
}

/// Interrupted and unreadable prompts are one error: nothing has been installed by then.
fn unanswered(error: dialoguer::Error) -> Error {
    let dialoguer::Error::IO(error) = error;
    // A list hides the cursor while it is shown. Should this fail too, the first error counts.
    let _ = dialoguer::console::Term::stderr().show_cursor();
    Error::failed("the question was not answered; nothing was installed or removed").because(error)
}

impl Ask for Terminal {
    fn asks(&self) -> bool {
        true
    }

    fn note(&mut self, text: &str) -> Result<()> {
        if !std::io::stderr().is_terminal() {
            return Ok(());
        }
        let text = console_line(text);
        self.screen.write_line(&text).map_err(|e| unanswered(e.into()))
    }

    fn choose(&mut self, prompt: &str, items: &[Item], default: Option<usize>) -> Result<usize> {
        need_terminal(prompt)?;
        let width = items.iter().map(|item| item.value.len()).max().unwrap_or(0);
        let lines: Vec<String> = items
            .iter()
            .map(|item| console_line(&format!("{:width$}  {}", item.value, item.label)))
            .collect();
        Select::with_theme(&self.theme)
            .with_prompt(console_line(prompt))
            .items(&lines)
            .default(default.unwrap_or(0))
            .interact_on(&self.screen)
            .map_err(unanswered)
    }

    fn text(
        &mut self,
        prompt: &str,
        default: Option<&str>,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String> {
        need_terminal(prompt)?;
        let empty = check("").is_ok();
        let mut input = Input::<String>::with_theme(&self.theme)
            .with_prompt(console_line(prompt))
            .allow_empty(empty)
            .validate_with(|text: &String| check(text));
        if let Some(default) = default {
            // Where nothing is an answer, too, Enter on an empty line must give nothing and not
            // the proposal: so that stands there to be edited.
            input = if empty {
                input.with_initial_text(default)
            } else {
                input.default(default.into())
            };
        }
        input.interact_text_on(&self.screen).map_err(unanswered)
    }

    fn secret(&mut self, prompt: &str) -> Result<String> {
        need_terminal(prompt)?;
        Password::with_theme(&self.theme)
            .with_prompt(console_line(prompt))
            .with_confirmation("The same again", "the two differ")
            .allow_empty_password(true)
            .interact_on(&self.screen)
            .map_err(unanswered)
    }

    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool> {
        need_terminal(prompt)?;
        Confirm::with_theme(&self.theme)
            .with_prompt(console_line(prompt))
            .default(default)
            .interact_on(&self.screen)
            .map_err(unanswered)
    }
}

/// Text on one line, without what would steer the terminal.
fn console_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
