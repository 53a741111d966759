//! Statements that are narrowed to one tenant from their first word on. What they select is each noun's business.
//!
//! The words are Diesel's own and each takes what it took before: none of them can widen the statement again.

use diesel::dsl;
use diesel::internal::table_macro::{Inner, LeftOuter, SelectStatement};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AsQuery, InsertStatement, IntoUpdateTarget, Query, UpdateStatement};
use diesel::query_dsl::{JoinWithImplicitOnClause, methods as words};
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::return_futures::{GetResult, LoadFuture};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::TenantTx;
use crate::schema;

/// A table whose rows each belong to a tenant.
#[diagnostic::on_unimplemented(message = "the rows of `{Self}` belong to no tenant")]
pub(crate) trait TenantTable: Table + Sized {
    /// The column that says to which.
    type Column: ExpressionMethods + Expression<SqlType = diesel::sql_types::Uuid> + Default;
}

macro_rules! tenant_tables {
    ($($table:ident by $column:ident),+ $(,)?) => {
        $(impl TenantTable for schema::$table::table {
            type Column = schema::$table::$column;
        })+
    };
}

tenant_tables!(
    tenants by id,
    memberships by tenant_id,
    invitations by tenant_id,
    projects by tenant_id,
    keys by tenant_id,
    service_tokens by tenant_id,
    audit_events by tenant_id,
    idempotency_keys by tenant_id,
    key_cutoffs by tenant_id,
    limits by tenant_id,
    limit_totals by tenant_id,
);

/// A statement that begins with the tenant's rows of one table and runs in a [`TenantTx`] alone. Whoever joins another
/// table does so by a key that holds the tenant; a subquery in a filter is not looked at. There row security stands.
pub(crate) struct Scoped<Q>(Q);

type IsTenant<T> = dsl::Eq<<T as TenantTable>::Column, Uuid>;
type NewRow<T, V> = InsertStatement<T, <(IsTenant<T>, V) as Insertable<T>>::Values>;
type NewRows<T, V> = InsertStatement<T, <Vec<(IsTenant<T>, V)> as Insertable<T>>::Values>;

impl TenantTx {
    /// The tenant's rows of a table.
    pub(crate) fn of<T>(&self, table: T) -> Scoped<dsl::Filter<T, IsTenant<T>>>
    where
        T: TenantTable + words::FilterDsl<IsTenant<T>>,
    {
        Scoped(words::FilterDsl::filter(table, T::Column::default().eq(self.tenant_id())))
    }

    /// A call of Postgres's own functions, on no table.
    pub(crate) fn call<E: Expression>(&self, functions: E) -> Scoped<dsl::select<E>>
    where
        dsl::select<E>: AsQuery,
    {
        Scoped(diesel::select(functions))
    }

    /// A new row of the tenant's.
    pub(crate) fn insert<T, V>(&self, table: T, values: V) -> Scoped<NewRow<T, V>>
    where
        T: TenantTable,
        (IsTenant<T>, V): Insertable<T>,
    {
        Scoped(diesel::insert_into(table).values((T::Column::default().eq(self.tenant_id()), values)))
    }

    /// The same for several.
    pub(crate) fn insert_all<T, V>(&self, table: T, rows: Vec<V>) -> Scoped<NewRows<T, V>>
    where
        T: TenantTable,
        Vec<(IsTenant<T>, V)>: Insertable<T>,
    {
        let rows = rows.into_iter().map(|values| (T::Column::default().eq(self.tenant_id()), values));
        Scoped(diesel::insert_into(table).values(rows.collect::<Vec<_>>()))
    }
}

impl<Q> Scoped<Q> {
    pub(crate) fn filter<P>(self, predicate: P) -> Scoped<dsl::Filter<Q, P>>
    where
        Q: words::FilterDsl<P>,
    {
        Scoped(self.0.filter(predicate))
    }

    pub(crate) fn order<E: Expression>(self, by: E) -> Scoped<dsl::Order<Q, E>>
    where
        Q: words::OrderDsl<E>,
    {
        Scoped(self.0.order(by))
    }

    pub(crate) fn limit(self, rows: i64) -> Scoped<dsl::Limit<Q>>
    where
        Q: words::LimitDsl,
    {
        Scoped(self.0.limit(rows))
    }

    pub(crate) fn group_by<E: Expression>(self, by: E) -> Scoped<dsl::GroupBy<Q, E>>
    where
        Q: words::GroupByDsl<E>,
    {
        Scoped(self.0.group_by(by))
    }

    pub(crate) fn select<S: Expression>(self, selection: S) -> Scoped<dsl::Select<Q, S>>
    where
        Q: words::SelectDsl<S>,
    {
        Scoped(self.0.select(selection))
    }

    pub(crate) fn count(self) -> Scoped<dsl::Select<Q, dsl::CountStar>>
    where
        Q: words::SelectDsl<dsl::CountStar>,
    {
        Scoped(self.0.select(dsl::count_star()))
    }

    pub(crate) fn inner_join<T>(self, table: T) -> Scoped<dsl::InnerJoin<Q, T>>
    where
        Q: JoinWithImplicitOnClause<T, Inner>,
    {
        Scoped(self.0.join_with_implicit_on_clause(table, Inner))
    }

    pub(crate) fn left_join<T>(self, table: T) -> Scoped<dsl::LeftJoin<Q, T>>
    where
        Q: JoinWithImplicitOnClause<T, LeftOuter>,
    {
        Scoped(self.0.join_with_implicit_on_clause(table, LeftOuter))
    }

    pub(crate) fn into_boxed<'a>(self) -> Scoped<dsl::IntoBoxed<'a, Q, Pg>>
    where
        Q: words::BoxedDsl<'a, Pg>,
    {
        Scoped(self.0.internal_into_boxed())
    }

    pub(crate) fn set<V>(self, changes: V) -> Scoped<dsl::Update<Q, V>>
    where
        Q: IntoUpdateTarget,
        V: AsChangeset<Target = Q::Table>,
        dsl::Update<Q, V>: AsQuery,
    {
        Scoped(diesel::update(self.0).set(changes))
    }

    pub(crate) fn load<'c, 'q, U>(self, transaction: &'c mut TenantTx) -> LoadFuture<'c, 'q, Q, AsyncPgConnection, U>
    where
        Q: LoadQuery<'q, AsyncPgConnection, U> + 'q,
        U: Send,
    {
        RunQueryDsl::load(self.0, transaction.connection())
    }

    pub(crate) fn get_result<'c, 'q, U>(
        self,
        transaction: &'c mut TenantTx,
    ) -> GetResult<'c, 'q, Q, AsyncPgConnection, U>
    where
        Q: LoadQuery<'q, AsyncPgConnection, U> + 'q,
        U: Send + 'c,
    {
        RunQueryDsl::get_result(self.0, transaction.connection())
    }

    pub(crate) fn first<'c, 'q, U>(
        self,
        transaction: &'c mut TenantTx,
    ) -> GetResult<'c, 'q, dsl::Limit<Q>, AsyncPgConnection, U>
    where
        Q: words::LimitDsl,
        dsl::Limit<Q>: LoadQuery<'q, AsyncPgConnection, U> + Send + 'q,
        U: Send + 'c,
    {
        RunQueryDsl::first(self.0, transaction.connection())
    }

    pub(crate) fn execute<'c, 'q>(
        self,
        transaction: &'c mut TenantTx,
    ) -> <AsyncPgConnection as AsyncConnectionCore>::ExecuteFuture<'c, 'q>
    where
        Q: ExecuteDsl<AsyncPgConnection> + 'q,
    {
        RunQueryDsl::execute(self.0, transaction.connection())
    }
}

/// Diesel keeps the word for "no DISTINCT" to itself, and locks nothing else: this reads it off a table.
pub(crate) trait Distinct {
    type Clause;
}

impl<F, S, D, W, O, L> Distinct for SelectStatement<F, S, D, W, O, L> {
    type Clause = D;
}

type NotDistinct = <<schema::tenants::table as AsQuery>::Query as Distinct>::Clause;
type Lockable<F, S, W, O, L> = SelectStatement<F, S, NotDistinct, W, O, L>;

#[expect(clippy::type_complexity, reason = "what Diesel answers has no shorter name")]
impl<F, S, W, O, L> Scoped<Lockable<F, S, W, O, L>> {
    pub(crate) fn for_update(self) -> Scoped<dsl::ForUpdate<Lockable<F, S, W, O, L>>> {
        Scoped(self.0.for_update())
    }

    pub(crate) fn for_no_key_update(self) -> Scoped<dsl::ForNoKeyUpdate<Lockable<F, S, W, O, L>>> {
        Scoped(self.0.for_no_key_update())
    }

    pub(crate) fn for_share(self) -> Scoped<dsl::ForShare<Lockable<F, S, W, O, L>>> {
        Scoped(self.0.for_share())
    }
}

impl<T: QuerySource, V> Scoped<InsertStatement<T, V>> {
    pub(crate) fn returning<E>(self, columns: E) -> Scoped<dsl::Returning<InsertStatement<T, V>, E>>
    where
        dsl::Returning<InsertStatement<T, V>, E>: Query,
    {
        Scoped(self.0.returning(columns))
    }
}

impl<T: Table, W, V> Scoped<UpdateStatement<T, W, V>> {
    pub(crate) fn returning<E>(self, columns: E) -> Scoped<dsl::Returning<UpdateStatement<T, W, V>, E>>
    where
        dsl::Returning<UpdateStatement<T, W, V>, E>: Query,
    {
        Scoped(self.0.returning(columns))
    }
}
