#!/bin/sh
# Polls ask for rows whose stamp is later than their cursor. Two ORMs move such a column at every update. One of
# them does not in an upsert, so no poll ever brings what an upsert has changed.
#
# Versions: TypeORM 1.1.1 (updateDate, what @UpdateDateColumn makes), Drizzle 0.45.4 ($onUpdate), sql.js 1.16.0.
# Seen: TypeORM stamps update, increment and softDelete; upsert and orUpdate change the title and leave the stamp
# (DO UPDATE SET names only the columns that were given). Drizzle's onConflictDoUpdate adds the stamp itself.
# Guessed before: the other way round, TypeORM's upsert stamps the row and Drizzle's does not.
# It fails if one of the two lists at the end changes.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export npm_config_cache="$dir/cache"
cd "$dir"
npm install --silent --no-audit --no-fund --ignore-scripts typeorm@1.1.1 drizzle-orm@0.45.4 sql.js@1.16.0
cat > try.mjs << 'SCRIPT'
import typeorm from 'typeorm'
import initSqlJs from 'sql.js'
import { drizzle } from 'drizzle-orm/sql-js'
import { sqliteTable, text } from 'drizzle-orm/sqlite-core'
const columns = { id: { type: 'text', primary: true }, title: { type: 'text' }, n: { type: 'int', default: 0 },
  at: { type: 'datetime', updateDate: true }, gone: { type: 'datetime', deleteDate: true, nullable: true } }
const entities = [new typeorm.EntitySchema({ name: 't', columns })]
const source = new typeorm.DataSource({ type: 'sqljs', driver: await initSqlJs(), entities, synchronize: true })
const rows = (await source.initialize()).getRepository('t')
const ids = ['update', 'increment', 'softDelete', 'upsert', 'orUpdate', 'drizzle']
await rows.insert(ids.map(id => ({ id, title: 'old' })))
await rows.query("UPDATE t SET at = '2001-01-01 00:00:00'")

await rows.update('update', { title: 'new' })
await rows.increment({ id: 'increment' }, 'n', 1)
await rows.softDelete('softDelete')
await rows.upsert({ id: 'upsert', title: 'new' }, ['id'])
await rows.createQueryBuilder().insert().values({ id: 'orUpdate', title: 'new' }).orUpdate(['title'], ['id']).execute()
const at = text().$onUpdate(() => new Date().toISOString())
const t = sqliteTable('t', { id: text().primaryKey(), title: text(), at })
drizzle(source.driver.databaseConnection).insert(t).values({ id: 'drizzle', title: 'new' })
  .onConflictDoUpdate({ target: t.id, set: { title: 'new' } }).run()

const lists = "SELECT at > '2001-01-01 00:00:00' AS moved, group_concat(id, ' ') AS ids FROM t GROUP BY 1 ORDER BY 1"
for (const { moved, ids } of await rows.query(lists)) console.log(moved ? 'a poll brings' : 'no poll brings', ids)
SCRIPT
node try.mjs | tee seen
printf '%s\n' 'no poll brings upsert orUpdate' 'a poll brings update increment softDelete drizzle' | diff - seen
