// The API explorer: it reads the contract, lists its operations, and sends requests to where it comes
// from. Texts of the contract and of answers are always text, never markup. The secret stays in the
// page and is gone with it.
'use strict'

const byId = id => document.getElementById(id)
const methods = ['get', 'head', 'post', 'put', 'patch', 'delete']
const keep = 512 * 1024 // characters of an answer that are shown

let contract

// make makes an element; children are elements or text.
function make(name, properties, ...children) {
  const e = Object.assign(document.createElement(name), properties)
  e.append(...children.filter(c => c !== null && c !== undefined))
  return e
}

// prose makes paragraphs of a description, in which only `code` is marked.
function prose(text) {
  const box = make('div')
  for (const paragraph of (text || '').split(/\n\s*\n/)) {
    if (!paragraph.trim()) continue
    const p = make('p')
    paragraph.split('`').forEach((part, i) => p.append(i % 2 ? make('code', {}, part) : part))
    box.append(p)
  }
  return box
}

// resolve follows references inside the contract.
function resolve(thing) {
  for (let i = 0; thing && thing.$ref && i < 16; i++) {
    thing = thing.$ref.slice(2).split('/').reduce((at, key) => at && at[key.replace(/~1/g, '/').replace(/~0/g, '~')], contract)
  }
  return thing || {}
}

const refName = thing => thing && thing.$ref ? thing.$ref.split('/').pop() : ''

function typeText(schema) {
  const s = resolve(schema)
  let text = s.type || (s.oneOf || s.anyOf ? 'one of several' : 'any')
  if (s.type === 'array') text = 'list of ' + typeText(s.items)
  if (s.format) text += ` (${s.format})`
  if (s.enum) text += ': ' + s.enum.map(v => JSON.stringify(v)).join(', ')
  if (s.minimum !== undefined || s.maximum !== undefined) text += `, ${s.minimum ?? ''}–${s.maximum ?? ''}`
  if (s.default !== undefined) text += `, default ${JSON.stringify(s.default)}`
  if (s.nullable) text += ', or null'
  return text
}

// schemaTree lists the members of a schema. Those of members are made when they are opened, and a
// schema that holds itself is named only.
function schemaTree(schema, seen = []) {
  const name = refName(schema)
  if (name && seen.includes(name)) return make('p', { className: 'type' }, `${name}, as above`)
  if (name) seen = [...seen, name]
  const s = resolve(schema)
  const list = make('ul', { className: 'schema' })
  const row = (label, member, required) => {
    const inner = resolve(member)
    const item = make('li', {},
      make('span', { className: 'name' }, label), ' ',
      make('span', { className: 'type' }, typeText(member) + (required ? ', required' : '')))
    const about = member.description || inner.description
    if (about) item.append(' ', oneLine(about))
    if (hasMembers(inner)) {
      const more = make('details', {}, make('summary', { className: 'type' }, refName(member) || 'members'))
      more.addEventListener('toggle', () => {
        if (more.open && more.children.length === 1) more.append(schemaTree(member, seen))
      })
      item.append(more)
    }
    list.append(item)
  }
  for (const part of s.allOf || []) list.append(make('li', {}, schemaTree(part, seen)))
  for (const part of s.oneOf || s.anyOf || []) row(refName(part) || 'or', part, false)
  for (const [key, member] of Object.entries(s.properties || {})) row(key, member, (s.required || []).includes(key))
  if (s.additionalProperties && s.additionalProperties !== true) row('any name', s.additionalProperties, false)
  if (s.type === 'array') row('each', s.items || {}, false)
  return list.children.length ? list : make('p', { className: 'type' }, typeText(schema))
}

const hasMembers = s => Boolean(s.properties || s.allOf || s.oneOf || s.anyOf || s.items && s.type === 'array' ||
  s.additionalProperties && s.additionalProperties !== true)

function oneLine(text) {
  const span = make('span')
  text.split('`').forEach((part, i) => span.append(i % 2 ? make('code', {}, part) : part))
  return span
}

// examplesOf are the examples of a media type, with their names.
function examplesOf(media) {
  if (media.example !== undefined) return [['example', media.example]]
  return Object.entries(media.examples || {}).map(([name, e]) => [name, resolve(e).value])
}

const pretty = value => typeof value === 'string' ? value : JSON.stringify(value, null, 2)

// mediaParts shows the types, schemas and examples of a body.
function mediaParts(content) {
  const box = make('div')
  for (const [type, media] of Object.entries(content || {})) {
    box.append(make('p', {}, make('code', {}, type), ' ', make('span', { className: 'type' }, refName(media.schema))))
    if (media.schema) box.append(schemaTree(media.schema))
    for (const [name, value] of examplesOf(media)) {
      box.append(make('p', { className: 'type' }, name), make('pre', {}, pretty(value)))
    }
  }
  return box
}

// operations are all of the contract, in its order.
function operations() {
  const list = []
  for (const [path, item] of Object.entries(contract.paths)) {
    for (const method of methods) {
      if (!item[method]) continue
      const o = item[method]
      const parameters = [...item.parameters || [], ...o.parameters || []].map(resolve)
      const stream = o['x-stream']
      list.push({ path, method: method.toUpperCase(), o, parameters, stream, id: 'op-' + o.operationId })
    }
  }
  return list
}

function operationView(op) {
  const box = make('details', { id: op.id, className: 'operation' },
    make('summary', {},
      make('span', { className: 'method' }, op.method),
      make('span', { className: 'path' }, op.path),
      make('span', { className: 'about' }, op.o.summary || '')))
  box.dataset.words = [op.method, op.path, op.o.operationId, op.o.summary, op.o.description, ...op.o.tags || []].join(' ').toLowerCase()
  box.addEventListener('toggle', () => { // most are never opened
    if (box.open && box.children.length === 1) box.append(operationBody(op))
  })
  return box
}

function operationBody(op) {
  const body = make('div', {}, prose(op.o.description))
  if (op.stream) body.append(make('p', { className: 'type' }, 'An endless stream: one JSON document a line, or the frames of a WebSocket.'))
  if (op.o.security && op.o.security.length === 0) body.append(make('p', { className: 'type' }, 'Needs no secret.'))
  body.append(make('h3', {}, 'Try it'), tryForm(op))
  if (op.o.requestBody) {
    body.append(make('h3', {}, 'Body'), prose(resolve(op.o.requestBody).description), mediaParts(resolve(op.o.requestBody).content))
  }
  body.append(make('h3', {}, 'Answers'))
  for (const [status, answer] of Object.entries(op.o.responses || {})) {
    const r = resolve(answer)
    const more = make('details', {}, make('summary', {}, make('span', { className: 'name' }, status), ' ', oneLine(r.description || '')))
    more.addEventListener('toggle', () => {
      if (more.open && more.children.length === 1) more.append(mediaParts(r.content))
    })
    body.append(more)
  }
  return body
}

// tryForm asks for what a request is made of, sends it and shows the answer.
function tryForm(op) {
  const fields = make('div', { className: 'fields' })
  const inputs = new Map()
  for (const p of op.parameters.filter(p => p.in === 'path' || p.in === 'query' || p.in === 'header')) {
    const id = `${op.id}-param-${p.name}`
    const s = resolve(p.schema)
    const choice = s.enum || (s.type === 'boolean' ? [true, false] : null)
    const input = choice
      ? make('select', { id }, make('option', { value: '' }, ''), ...choice.map(v => make('option', { value: String(v) }, String(v))))
      : make('input', { id, autocomplete: 'off', spellcheck: false, placeholder: typeText(p.schema || {}) })
    if (p.in === 'path' && p.example !== undefined) input.value = p.example
    input.title = p.description || ''
    inputs.set(p, input)
    fields.append(make('label', { htmlFor: id }, p.name, p.required ? ' *' : ''), input)
    if (p.description) fields.append(make('span'), make('span', { className: 'type' }, oneLine(p.description)))
  }
  const form = make('form', {}, fields)
  let text = null
  if (op.o.requestBody) {
    const content = Object.values(resolve(op.o.requestBody).content || {})[0] || {}
    const example = examplesOf(content)[0]
    text = make('textarea', { id: op.id + '-input', spellcheck: false, ariaLabel: 'body', value: example ? pretty(example[1]) : '' })
    form.append(text)
  }
  const send = make('button', { id: op.id + '-send', type: 'submit' }, 'Send')
  const stop = make('button', { id: op.id + '-stop', type: 'button', hidden: true }, 'Stop')
  const status = make('span', { id: op.id + '-status', role: 'status' })
  const sent = make('pre', { id: op.id + '-curl', hidden: true })
  const head = make('pre', { id: op.id + '-head', hidden: true })
  const answer = make('pre', { id: op.id + '-answer', hidden: true })
  form.append(make('p', {}, send, ' ', stop, ' ', status), sent, head, answer)
  let running = null
  stop.addEventListener('click', () => running && running.abort())
  form.addEventListener('submit', async event => {
    event.preventDefault()
    if (running) running.abort()
    const mine = running = new AbortController()
    stop.hidden = false
    head.hidden = answer.hidden = true
    status.className = ''
    status.textContent = '…'
    try {
      const request = requestOf(op, inputs, text)
      sent.textContent = curlOf(request)
      sent.hidden = false
      await exchange(request, mine.signal, { status, head, answer })
    } catch (e) {
      if (mine.signal.aborted) status.textContent += ' (stopped)'
      else {
        status.className = 'bad'
        status.textContent = String(e.message || e)
      }
    }
    if (running === mine) {
      running = null
      stop.hidden = true
    }
  })
  return form
}

// requestOf makes a request of what was filled in. Empty fields are left out.
function requestOf(op, inputs, text) {
  let path = op.path
  const query = new URLSearchParams()
  const headers = {}
  for (const [p, input] of inputs) {
    const value = input.value
    if (p.in === 'path') {
      if (!value) throw new Error(`${p.name} is missing`)
      if (value === '.' || value === '..') throw new Error(`${p.name}: no browser sends ${value}`)
      path = path.replace(`{${p.name}}`, () => encodeURIComponent(value))
    } else if (value !== '') {
      if (p.in === 'query') query.append(p.name, value)
      else headers[p.name] = value
    }
  }
  const secret = byId('secret').value
  if (secret) headers.Authorization = 'Bearer ' + secret
  const body = text && text.value !== '' ? text.value : undefined
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  return { method: op.method, url: path + (query.size ? '?' + query : ''), headers, body }
}

const quote = word => "'" + word.replace(/'/g, `'\\''`) + "'"

// curlOf is the same request as a command. The secret is left out of it.
function curlOf(request) {
  const words = ['curl']
  if (request.method !== 'GET') words.push('-X', request.method)
  for (const [name, value] of Object.entries(request.headers)) {
    if (name === 'Authorization') words.push('-H "Authorization: Bearer $SECRET"')
    else words.push('-H', quote(`${name}: ${value}`))
  }
  if (request.body !== undefined) words.push('--data-raw', quote(request.body))
  return [...words, quote(location.origin + request.url)].join(' ')
}

// exchange sends a request and shows the answer as it comes: streams never end.
async function exchange(request, signal, show) {
  const began = performance.now()
  const res = await fetch(request.url, {
    method: request.method, headers: request.headers, body: request.body, signal, cache: 'no-store', credentials: 'omit', redirect: 'manual',
  })
  show.status.className = res.ok ? 'good' : 'bad'
  show.status.textContent = `${res.status} ${res.statusText} in ${Math.round(performance.now() - began)} ms`
  show.head.textContent = [...res.headers].map(([name, value]) => `${name}: ${value}`).join('\n')
  show.head.hidden = false
  show.answer.hidden = false
  show.answer.textContent = ''
  if (!res.body) return
  const type = res.headers.get('Content-Type') || ''
  const lines = type.startsWith('application/x-ndjson')
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) break
    text += value
    if (text.length > keep) text = lines ? text.slice(-keep) : text.slice(0, keep)
    show.answer.textContent = text
    if (lines) show.answer.scrollTop = show.answer.scrollHeight
    else if (text.length === keep) {
      show.answer.textContent = text + '\n… (there is more)'
      return void reader.cancel()
    }
  }
  if (type.startsWith('application/json')) {
    try {
      show.answer.textContent = JSON.stringify(JSON.parse(text), null, 2)
    } catch { /* it is shown as it came */ }
  }
}

function filter() {
  const words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean)
  let n = 0
  for (const section of byId('operations').children) {
    let any = false
    for (const o of section.querySelectorAll('.operation')) {
      o.hidden = !words.every(w => o.dataset.words.includes(w))
      if (!o.hidden) {
        n++
        any = true
      }
    }
    section.hidden = !any
  }
  byId('count').textContent = n === 1 ? '1 operation' : `${n} operations`
}

// openNamed opens the operation that the address names.
function openNamed() {
  let name = ''
  try {
    name = decodeURIComponent(location.hash.slice(1))
  } catch { /* it names none */ }
  const o = name && byId(name)
  if (!o || !o.classList.contains('operation')) return
  o.open = true
  o.scrollIntoView()
}

async function start() {
  const res = await fetch('/openapi.json', { credentials: 'omit' })
  if (!res.ok) throw new Error(`/openapi.json: ${res.status} ${res.statusText}`)
  contract = await res.json()
  byId('title').textContent = `${contract.info.title} ${contract.info.version}`
  byId('about').append(prose(contract.info.description))
  const all = operations()
  const tags = [...contract.tags || []]
  for (const op of all) {
    const tag = (op.o.tags || ['others'])[0]
    if (!tags.some(t => t.name === tag)) tags.push({ name: tag })
  }
  for (const tag of tags) {
    const mine = all.filter(op => (op.o.tags || ['others'])[0] === tag.name)
    if (mine.length === 0) continue
    byId('operations').append(make('section', { id: 'tag-' + tag.name },
      make('h2', {}, tag.name), make('p', { className: 'about' }, tag.description || ''), ...mine.map(operationView)))
  }
  byId('filter').addEventListener('input', filter)
  addEventListener('hashchange', openNamed)
  filter()
  openNamed()
}

start().catch(e => {
  byId('error').textContent = 'The contract cannot be shown: ' + (e.message || e)
  byId('error').hidden = false
})
