// Drives Chromium over pages of several origins, which ask daemons that tests have started. It reads
// what it needs from the JSON in its argument, and prints one line of JSON for each check.
import { createRequire } from 'node:module'
import assert from 'node:assert/strict'

const given = JSON.parse(process.argv[2])
const { chromium } = createRequire(given.modules + '/')('playwright-core')
const { guarded, open, listed, secret, group, nodes, provider, rules, delayURL, port } = given

const browser = await chromium.launch({
  executablePath: given.chromium,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--host-resolver-rules=MAP *.test 127.0.0.1'],
})

// origin opens our dashboard as it is served by a name.
async function origin(host) {
  const page = await (await browser.newContext()).newPage()
  await page.goto(`http://${host}:${port}/dashboard.html`)
  return {
    page,
    call: (...args) => page.evaluate(args => call(...args), args),
    listen: (...args) => page.evaluate(args => listen(...args), args),
    submit: (...args) => page.evaluate(args => submit(...args), args),
    load: (...args) => page.evaluate(args => load(...args), args),
  }
}

async function check(name, f) {
  let problem = ''
  let clock
  const late = new Promise((_, reject) => { clock = setTimeout(() => reject(new Error('it takes too long')), 15000) })
  try {
    await Promise.race([f(), late])
  } catch (e) {
    problem = String(e.message || e)
  }
  clearTimeout(clock)
  console.log(JSON.stringify({ name, problem }))
}

const has = (got, status) => assert.equal(got.status, status, JSON.stringify(got))
const kept = got => assert.ok(got.error && got.status === undefined, 'the page can read ' + JSON.stringify(got))
const enc = encodeURIComponent

const panel = await origin('panel.test') // a page of the web; guarded lets all of them in
const attacker = await origin('attacker.test')
const local = await origin('127.0.0.1')
const key = { secret }

await check('a dashboard reads', async () => {
  for (const path of ['/', '/version', '/configs', '/proxies', '/providers/proxies', '/rules', '/providers/rules', '/connections', '/group', '/storage/panel',
    `/proxies/${enc(group)}`, `/group/${enc(group)}`, ...nodes.map(n => `/proxies/${enc(n)}`), `/providers/proxies/${enc(provider)}`]) {
    const got = await panel.call(guarded, 'GET', path, key)
    has(got, 200)
    assert.notEqual(got.json, undefined, path)
  }
  for (const node of nodes) assert.equal((await panel.call(guarded, 'GET', `/proxies/${enc(node)}`, key)).json.name, node)
})

await check('a wrong secret is told apart from no daemon', async () => {
  for (const options of [{}, { secret: '' }, { secret: 'x' }, { secret: secret + 'x' }]) {
    for (const [method, path] of [['GET', '/version'], ['PATCH', '/configs'], ['PUT', `/proxies/${enc(group)}`], ['DELETE', '/connections'], ['POST', '/restart']]) {
      const got = await panel.call(guarded, method, path, { ...options, body: method === 'GET' ? undefined : {} })
      has(got, 401)
      assert.equal(got.json.message, 'Unauthorized')
    }
  }
  kept(await panel.call('http://127.0.0.1:1', 'GET', '/version', key))
})

await check('errors can be read', async () => {
  has(await panel.call(guarded, 'GET', '/nope', key), 404)
  const missing = await panel.call(guarded, 'GET', '/proxies/nope', key)
  has(missing, 404)
  assert.equal(missing.json.message, 'Resource not found')
  has(await panel.call(guarded, 'DELETE', '/version', key), 405)
  has(await panel.call(guarded, 'PATCH', '/configs', { secret, body: '{' }), 400)
  has(await panel.call(guarded, 'PUT', `/proxies/${enc(group)}`, { secret, body: { name: 'nope' } }), 400)
  has(await panel.call(guarded, 'GET', '/proxies/%zz', key), 400)
  has(await panel.call(guarded, 'PUT', '/storage/panel', { secret, body: '"' + 'x'.repeat(2 << 20) + '"' }), 413)
  has(await panel.call(guarded, 'PUT', '/configs', { secret: 'x', body: '"' + 'x'.repeat(2 << 20) + '"' }), 413)
})

await check('a dashboard changes', async () => {
  const write = async (method, path, body, status = 204, more = {}) => has(await panel.call(guarded, method, path, { secret, body, ...more }), status)
  const read = async path => (await panel.call(guarded, 'GET', path, key)).json
  await write('PATCH', '/configs', { mode: 'Global' })
  assert.equal((await read('/configs')).mode, 'global')
  await write('PUT', '/configs?reload=true', { path: '', payload: '' })
  assert.equal((await read('/configs')).mode, 'rule')
  await write('PUT', '/configs?force=true', { path: '', payload: '' })
  for (const type of ['application/json', 'text/plain;charset=UTF-8', null]) {
    for (const name of nodes) {
      await write('PUT', `/proxies/${enc(group)}`, { name }, 204, { type })
      assert.equal((await read(`/proxies/${enc(group)}`)).now, name)
    }
  }
  await write('PUT', '/proxies/Auto', { name: nodes[1] })
  assert.equal((await read('/proxies/Auto')).fixed, nodes[1])
  await write('DELETE', '/proxies/Auto')
  assert.equal((await read('/proxies/Auto')).fixed, '')
  await write('PATCH', '/rules/disable', { 0: true })
  assert.equal((await read('/rules')).rules[0].extra.disabled, true)
  await write('PATCH', '/rules/disable', { 0: false })
  await write('PUT', `/providers/proxies/${enc(provider)}`)
  await write('PUT', `/providers/rules/${enc(rules)}`)
  await write('POST', '/cache/fakeip/flush')
  await write('POST', '/cache/dns/flush')
  await write('PUT', '/storage/panel', { a: ['ü', '🇯🇵'] })
  assert.deepEqual(await read('/storage/panel'), { a: ['ü', '🇯🇵'] })
  await write('DELETE', '/storage/panel')
  assert.equal(await read('/storage/panel'), null)
  await write('DELETE', '/connections')
  await write('DELETE', '/connections/none')
})

await check('a dashboard measures', async () => {
  const url = enc(delayURL)
  for (const path of [...[...nodes, group].map(n => `/proxies/${enc(n)}`), `/providers/proxies/${enc(provider)}/${enc('p/1 🇩🇪')}/healthcheck`]) {
    const got = await panel.call(guarded, 'GET', (path.endsWith('k') ? path : path + '/delay') + `?timeout=5000&url=${url}`, key)
    has(got, 200)
    assert.ok(got.json.delay > 0, path)
    if (!path.endsWith('k')) assert.ok((await panel.call(guarded, 'GET', path, key)).json.history.at(-1).delay > 0, path)
  }
  const all = await panel.call(guarded, 'GET', `/group/${enc(group)}/delay?timeout=5000&url=${url}`, key)
  has(all, 200)
  for (const n of nodes) assert.ok(all.json[n] > 0, n)
  has(await panel.call(guarded, 'GET', `/providers/proxies/${enc(provider)}/healthcheck`, key), 204)
  const failed = await panel.call(guarded, 'GET', `/proxies/${enc(nodes[0])}/delay?timeout=2000&url=${enc('http://127.0.0.1:1/')}`, key)
  has(failed, 503)
  assert.equal(typeof failed.json.message, 'string')
})

await check('pages can read and send entity tags', async () => {
  const first = await panel.call(guarded, 'GET', '/configs', key)
  assert.match(first.etag, /^"/)
  has(await panel.call(guarded, 'GET', '/configs', { secret, headers: { 'If-None-Match': first.etag } }), 304)
  has(await panel.call(guarded, 'PATCH', '/configs', { secret, body: { mode: 'direct' }, headers: { 'If-Match': '"stale"' } }), 412)
})

await check('WebSockets', async () => {
  for (const [path, field] of [['/traffic', 'up'], ['/memory', 'inuse'], ['/connections', 'connections']]) {
    const s = await panel.listen(guarded, path, { token: secret, messages: 2 })
    assert.ok(s.opened && s.clean && s.code === 1000 && s.got.every(m => field in m), JSON.stringify(s).slice(0, 300))
  }
  const logs = panel.listen(guarded, '/logs?level=debug', { token: secret })
  const load = body => panel.call(guarded, 'PUT', '/configs', { secret, body })
  while (await Promise.race([logs, load({ payload: 'mdoe: rule' }).then(() => null)]) === null) { /* until the warning is seen */ }
  has(await load({}), 204)
  assert.deepEqual(Object.keys((await logs).got[0]).sort(), ['payload', 'type'])
  for (const token of ['', 'x', secret + 'x', undefined]) {
    const s = await panel.listen(guarded, '/traffic', { token })
    assert.ok(!s.opened && s.got.length === 0, JSON.stringify(s))
  }
  assert.ok((await local.listen(open, '/traffic', { token: '' })).opened)
})

await check('headers that the API has no use for are not let through', async () => {
  kept(await panel.call(guarded, 'GET', '/version', { secret, headers: { 'X-Other': 'y' } }))
})

await check('listed origins', async () => {
  has(await panel.call(listed, 'GET', '/configs', key), 200)
  has(await panel.call(listed, 'PATCH', '/configs', { secret, body: { mode: 'global' } }), 204)
  has(await panel.call(listed, 'GET', '/version', { secret: 'x' }), 401)
  assert.ok((await panel.listen(listed, '/traffic', { token: secret })).opened)
})

await check('origins that are not listed', async () => {
  for (const page of [attacker, local]) {
    kept(await page.call(listed, 'GET', '/configs', key))
    kept(await page.call(listed, 'GET', '/version', { type: null }))
    kept(await page.call(listed, 'PATCH', '/configs', { secret, body: { mode: 'direct' } }))
    kept(await page.call(listed, 'DELETE', '/connections', key))
    const s = await page.listen(listed, '/traffic', { token: secret })
    assert.ok(!s.opened, 'a WebSocket')
  }
  assert.equal((await panel.call(listed, 'GET', '/configs', key)).json.mode, 'global')
})

await check('a daemon without a secret, for pages of this machine', async () => {
  has(await local.call(open, 'GET', '/configs'), 200)
  has(await local.call(open, 'GET', '/configs', { secret: '' }), 200)
  has(await local.call(open, 'PATCH', '/configs', { body: { mode: 'global' } }), 204)
  has(await local.call(open, 'PATCH', '/configs', { body: { mode: 'rule' } }), 204)
  has(await local.call(open, 'PUT', '/proxies/Auto', { body: { name: nodes[1] }, type: 'text/plain' }), 204)
})

await check('a daemon without a secret, for pages of others', async () => {
  const auto = `/group/Auto/delay?timeout=5000&url=${enc(delayURL)}`
  for (const type of [null, 'text/plain', 'application/x-www-form-urlencoded', 'application/json']) {
    for (const mode of ['cors', 'no-cors']) {
      for (const path of ['/restart', '/cache/dns/flush', '/upgrade/ui', '/configs/geo']) await attacker.call(open, 'POST', path, { type, mode, body: '{}' })
      const got = await attacker.call(open, 'GET', '/configs', { type, mode })
      assert.ok(got.error || got.opaque && got.text === '', JSON.stringify(got))
      await attacker.call(open, 'GET', auto, { type, mode })
    }
    kept(await attacker.call(open, 'PUT', '/proxies/Auto', { type, body: { name: nodes[0] } }))
    kept(await attacker.call(open, 'PATCH', '/configs', { type, body: { mode: 'direct' } }))
    kept(await attacker.call(open, 'DELETE', '/proxies/Auto', { type }))
  }
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
    await attacker.submit(open + '/restart', type, '{"path":"', '"}')
  }
  assert.equal(await attacker.load(open + auto), false)
  const s = await attacker.listen(open, '/connections')
  assert.ok(!s.opened, 'a WebSocket')
  const now = (await local.call(open, 'GET', '/proxies/Auto')).json // any test of the group would have taken the pin out
  assert.equal(now.fixed, nodes[1])
  assert.equal((await local.call(open, 'GET', '/configs')).json.mode, 'rule')
})

await check('a name that was rebound', async () => {
  const page = await browser.newPage()
  const rebound = open.replace('127.0.0.1', 'attacker.test')
  for (const path of ['/version', '/configs', '/ui/', '/docs']) {
    assert.equal((await page.goto(rebound + path)).status(), 403, path)
  }
  const status = await page.evaluate(async () => (await fetch('/configs', { method: 'PATCH', body: '{"mode":"direct"}' })).status)
  assert.equal(status, 403)
  await page.close()
})

await check('the web panel', async () => {
  const page = await browser.newPage()
  const problems = []
  page.on('pageerror', e => problems.push(String(e)))
  page.on('console', m => m.type() === 'error' && problems.push(m.text()))
  for (const [api, query, title] of [[guarded, '?secret=' + enc(secret), '200 string true'], [open, '', '200 string true']]) {
    const res = await page.goto(api + '/ui' + query)
    assert.equal(new URL(page.url()).pathname, '/ui/')
    assert.match(res.headers()['content-type'], /^text\/html/)
    await page.waitForFunction(want => document.title === want, title)
  }
  assert.equal((await page.goto(guarded + '/ui/proxies/a')).status(), 200) // a place inside the panel
  assert.deepEqual(problems.filter(p => !p.includes('assets/panel.js') && !p.includes('404')), [])
  await page.close()
})

await check('a link to the panel, and the panel in a frame', async () => {
  const { page } = await origin('attacker.test')
  const framed = page.waitForEvent('frameattached')
  const answer = page.waitForResponse(r => r.url() === open + '/ui/')
  await page.evaluate(url => {
    document.body.append(Object.assign(document.createElement('iframe'), { src: url }))
  }, open + '/ui/')
  await framed
  assert.equal((await answer).status(), 403)
  await page.evaluate(url => {
    const a = Object.assign(document.createElement('a'), { href: url, textContent: 'panel' })
    document.body.append(a)
    a.click()
  }, open + '/ui/')
  await page.waitForFunction(() => document.title === '200 string true')
  await page.close()
})

await check('the explorer', async () => {
  for (const [api, word] of [[guarded, secret], [open, '']]) {
    const page = await browser.newPage()
    const problems = []
    page.on('pageerror', e => problems.push(String(e)))
    page.on('console', m => m.type() === 'error' && problems.push(m.text()))
    await page.goto(api + '/docs#op-getVersion')
    await page.waitForSelector('#op-getVersion-send')
    if (word) await page.fill('#secret', word)
    await page.click('#op-getVersion-send')
    await page.waitForFunction(() => document.getElementById('op-getVersion-answer').textContent.includes('"version"'))
    assert.match(await page.textContent('#op-getVersion-status'), /^200 /)
    assert.equal((await page.textContent('#op-getVersion-curl')).includes(word || '\0'), false)
    if (word) {
      await page.fill('#secret', 'x')
      await page.click('#op-getVersion-send')
      await page.waitForFunction(() => document.getElementById('op-getVersion-status').textContent.startsWith('401'))
    }
    assert.deepEqual(problems.filter(p => !p.includes('401')), [])
    await page.close()
  }
})

await browser.close()
