//! A secret that was just made is shown once: it neither copies nor serializes nor prints. What was presented or stands in
//! a file does not print either.

use tronch_core::{IdempotencyKey, KeyDraft, PresentedKey, PresentedToken, SecretOnce};
use tronch_engine::Master;
use tronch_engine::members::Password;

fn serializes<T: serde::Serialize>(_: &T) {}

pub fn show(secret: SecretOnce, key: PresentedKey, token: PresentedToken) -> String {
    serializes(&"a text");
    let _ = format!("{secret:?} {key:?} {token:?}");
    let _ = secret.clone(); //~ E0599 clone
    let _ = format!("{secret}"); //~ E0277 Display
    let _ = secret.to_string(); //~ E0599 Display
    let _ = &secret.0; //~ E0616 private
    serializes(&secret); //~ E0277 Serialize
    serializes(&key); //~ E0277 Serialize
    serializes(&token); //~ E0277 Serialize
    let text = secret.expose_once();
    let _ = secret.expose_once(); //~ E0382 moved
    text
}

pub fn print(master: Master, word: IdempotencyKey, password: Password, draft: KeyDraft) {
    let _ = format!("{master:?} {word:?}");
    let _ = format!("{master}"); //~ E0277 Display
    let _ = format!("{word}"); //~ E0277 Display
    let _ = format!("{password}"); //~ E0277 Display
    let _ = format!("{password:?}"); //~ E0277 Debug
    let _ = format!("{draft:?}"); //~ E0277 Debug
    let _ = &master.0; //~ E0616 private
    serializes(&master); //~ E0277 Serialize
    serializes(&word); //~ E0277 Serialize
    let _ = (master, word, password, draft);
}
