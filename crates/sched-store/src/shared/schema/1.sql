-- What all schedulers of a fleet agree on.
create table meta (
    one int primary key check (one = 1),
    schema_version int not null,
    oldest_reader int not null,
    shares int not null
);

create sequence incarnations;
-- What requests from outside are called: below the first range of jobs, which is that of incarnation 1.
create sequence tickets maxvalue 1099511627775;

-- A row for each incarnation of a scheduler that is there. Its lease holds until `expires`, by the server's clock alone;
-- what it leaves may be taken `grace` later.
create table schedulers (
    id bigint primary key,
    name text not null,
    weight int not null,
    version int not null,
    joined timestamptz not null default clock_timestamp(),
    seen timestamptz not null default clock_timestamp(),
    expires timestamptz not null,
    grace interval not null
);

-- The fleet, divided by a hash of the names of clusters and hosts. `epoch` grows with each owner.
create table shares (
    share int primary key,
    epoch bigint not null,
    owner bigint,
    since timestamptz not null default clock_timestamp()
);

-- Jobs that have not ended, as their owner's engine knows them, and for a while those that have.
create table jobs (
    id bigint primary key,
    share int not null,
    epoch bigint not null,
    instance text not null,
    kind text not null,
    attempt int not null,
    state text not null,
    live boolean not null,
    record text,
    outcome text,
    changed timestamptz not null default clock_timestamp()
);
create index jobs_live on jobs (share, id) where live;
create index jobs_ended on jobs (changed) where not live;
-- What no engine does, the store refuses: two attempts of one backup at once, or two that have not begun.
create unique index jobs_running on jobs (share, instance, kind) where live and state = 'running';
create unique index jobs_waiting on jobs (share, instance, kind) where live and attempt = 0;

-- What else is kept: orders of operators, what was learned, how recurring backups stand. `share` is null where it concerns
-- the whole fleet.
create table facts (
    key text primary key,
    share int,
    fact text not null,
    changed timestamptz not null default clock_timestamp()
);
create index facts_share on facts (share);

-- What operators did.
create table audit (
    id bigint generated always as identity primary key,
    scheduler bigint not null,
    entry text not null
);

-- What processes ask of the owner of a share. It is answered in the transaction that writes what came of it.
create table requests (
    id bigint generated always as identity primary key,
    share int not null,
    -- What whoever asks calls the job.
    ticket bigint not null,
    cancels boolean not null,
    body text not null,
    asked timestamptz not null default clock_timestamp(),
    answered timestamptz,
    job bigint,
    refusal text,
    unique (ticket, cancels)
);
create index requests_open on requests (share, id) where answered is null;
create index requests_answered on requests (answered) where answered is not null;

-- Limits that span schedulers, and who may use how much of them.
create table limits (
    name text primary key,
    total bigint not null check (total >= 0),
    divided timestamptz not null default '-infinity'
);
create table grants (
    limit_name text not null references limits on delete cascade,
    scheduler bigint not null references schedulers on delete cascade,
    amount bigint not null,
    bound bigint not null,
    demand bigint not null,
    least bigint not null,
    key bigint not null,
    primary key (limit_name, scheduler)
);
