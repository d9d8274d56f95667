//! Six small programs that show how wide the contracts are. Each trains something and asserts what was learned; if one had
//! to go round a contract, the contract would be wrong.

mod domain_adversarial;
mod gan;
mod graph;
mod lora;
mod pcgrad;
mod sequences;
