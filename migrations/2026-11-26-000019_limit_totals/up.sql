-- What was taken of totals: what nodes hold and have not spent yet counts as taken, so that nobody ever spends more than there is.
SET LOCAL lock_timeout = '2s';

CREATE TABLE limit_totals (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    -- The limit, or the one that it goes on counting for. It may be gone already.
    limit_id uuid NOT NULL,
    -- The first key of a key's rotations, or the limit where it counts the calls of several together.
    whose uuid NOT NULL,
    -- How time is cut. Under another total the count goes on; under another cut it begins anew.
    stretches text COLLATE "C" NOT NULL,
    -- The stretch that is counted, and since when nothing of the row counts any more.
    started_at timestamptz NOT NULL,
    over_at timestamptz NOT NULL,
    used bigint NOT NULL CHECK (used >= 0),
    -- In the stretch before, of one that slides.
    used_before bigint NOT NULL CHECK (used_before >= 0),
    -- To credits, on top of the total.
    added bigint NOT NULL CHECK (added >= 0),
    PRIMARY KEY (limit_id, whose, stretches)
    -- Each row is changed again and again in its place.
) WITH (fillfactor = 50);
CREATE INDEX limit_totals_over ON limit_totals (over_at);
CREATE INDEX limit_totals_of_tenant ON limit_totals (tenant_id);
SELECT tronch_isolate_tenants('limit_totals', 'tenant_id');
