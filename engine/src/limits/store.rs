//! What is asked of whoever keeps limits for several processes, and what he answers. Postgres keeps totals, and buckets where there is
//! no Redis (`totals.rs`); Redis keeps buckets, and totals that are to be exact (`redis.rs`).

use std::sync::Arc;

use tronch_core::{Bucket, Identifier, LimitId, TenantId, Window, WindowState, Wish};
use uuid::Uuid;

use super::share::Rest;

/// What is asked about one half of a limit. Before more is reserved, what is left over is given back and what is owed is made up for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) tenant_id: TenantId,
    pub(crate) limit_id: LimitId,
    pub(crate) whose: Uuid,
    pub(crate) identifier: Option<Arc<Identifier>>,
    pub(crate) of: Of,
}

/// About which half.
#[derive(Debug, Clone)]
pub(crate) enum Of {
    Total(TotalAsk),
    Rate(RateAsk),
}

#[derive(Debug, Clone)]
pub(crate) struct TotalAsk {
    pub(crate) window: Window,
    pub(crate) left_over: Option<Rest>,
    pub(crate) owed: Option<Rest>,
    pub(crate) wish: Option<Wish>,
    /// To be added to credits.
    pub(crate) added: u64,
}

impl TotalAsk {
    /// Nothing, yet.
    pub(crate) fn about(window: Window) -> Self {
        Self { window, left_over: None, owed: None, wish: None, added: 0 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct RateAsk {
    pub(crate) bucket: Bucket,
    /// What whoever asks holds still, apart from what he gives back.
    pub(crate) held: u64,
    pub(crate) left_over: u64,
    pub(crate) owed: u64,
    /// The least that is of use, what is spent at once, and what is to be held besides.
    pub(crate) need: u64,
    pub(crate) at_once: u64,
    pub(crate) more: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nobody answers.
    Silence,
    /// Somebody does, with what is none: about this one nothing can be known, about others it may.
    Nonsense,
}

/// How it stands, and how much of it was reserved for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Total {
        state: WindowState,
        granted: u64,
    },
    Rate {
        /// When the bucket will be full, in its ticks from now on.
        debt_ticks: u64,
        granted: u64,
    },
}
