//! No connection, transaction, table or row can be named outside the engine.

use tronch_engine::Engine;

pub fn open(engine: &Engine) {
    engine.close();
    let _ = engine.db(); //~ E0624 private
    let _ = engine.keyring(); //~ E0624 private
    let _ = engine.shared; //~ E0616 private
}

pub use tronch_engine::OpenError;
pub use tronch_engine::db::Db; //~ E0603 private
pub use tronch_engine::db::Connection; //~ E0603 private
pub use tronch_engine::tenancy::TenantTx; //~ E0603 private
pub use tronch_engine::tenancy::Scoped; //~ E0603 private
pub use tronch_engine::once::ChangeTx; //~ E0603 private
pub use tronch_engine::system::tenant_by_slug; //~ E0603 private
pub use tronch_engine::schema::keys; //~ E0603 private
pub use tronch_engine::keys::rows::KeyRow; //~ E0603 private
pub use tronch_engine::keys::sql::find; //~ E0603 private
pub use tronch_engine::projects::find_project; //~ E0603 private
pub use tronch_engine::diesel; //~ E0432 diesel
