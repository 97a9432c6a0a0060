-- Two roles for the service: messaging_owner, whose the tables are, for migrations (DATABASE_MIGRATE_URL), and messaging_app, which reads
-- and writes rows and can change nothing else (DATABASE_URL). Run it in the service's database before its first migration, as a superuser
-- or the owner of the database with CREATEROLE; it may be repeated. Then give both a way to log in, as with \password messaging_app.
--
-- A database that was migrated as another role, say messaging, before: first `reassign owned by messaging to messaging_owner`.

do $$
begin
  if not exists (select from pg_roles where rolname = 'messaging_owner') then
    create role messaging_owner login;
  end if;
  if not exists (select from pg_roles where rolname = 'messaging_app') then
    create role messaging_app login;
  end if;
  execute format('revoke all on database %I from public', current_database());
  execute format('grant connect, create on database %I to messaging_owner', current_database());
  execute format('grant connect on database %I to messaging_app', current_database());
end
$$;

revoke all on schema public from public;
grant usage, create on schema public to messaging_owner;
grant usage on schema public to messaging_app;

-- The queue's; the migration fills it.
create schema if not exists graphile_worker;
grant usage, create on schema graphile_worker to messaging_owner;
grant usage on schema graphile_worker to messaging_app;

-- What there is, and what migrations will add.
grant select, insert, update, delete on all tables in schema public, graphile_worker to messaging_app;
grant usage on all sequences in schema public, graphile_worker to messaging_app;
alter default privileges for role messaging_owner grant select, insert, update, delete on tables to messaging_app;
alter default privileges for role messaging_owner grant usage on sequences to messaging_app;

-- For whatever connects as the role. The service asks for shorter ones by itself (DATABASE_STATEMENT_TIMEOUT_MS); the queue relies on these.
alter role messaging_app set statement_timeout = '15s';
alter role messaging_app set lock_timeout = '10s';
alter role messaging_app set idle_in_transaction_session_timeout = '30s';
