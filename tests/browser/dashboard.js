// What dashboards do, in a page that comes from elsewhere. Nothing here knows what is right.
'use strict'

// call sends a request as dashboards do. What comes back is what a page can read of the answer; error
// is that the browser has kept all of it.
async function call(api, method, path, { secret, body, type = 'application/json', headers = {}, mode = 'cors' } = {}) {
  const fields = { ...headers }
  if (secret !== undefined) fields.Authorization = 'Bearer ' + secret
  if (type) fields['Content-Type'] = type
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
  try {
    const res = await fetch(api + path, { method, headers: fields, body: text, mode, cache: 'no-store' })
    const answer = await res.text()
    let json
    try {
      json = JSON.parse(answer)
    } catch { /* it is none */ }
    return { status: res.status, text: answer, json, etag: res.headers.get('ETag'), opaque: res.type === 'opaque' }
  } catch (e) {
    return { error: String(e) }
  }
}

// listen opens a WebSocket and waits for a number of messages, or for its end.
function listen(api, path, { token, messages = 1 } = {}) {
  const url = new URL(api.replace(/^http/, 'ws') + path)
  if (token !== undefined) url.searchParams.set('token', token)
  return new Promise(resolve => {
    const got = []
    let opened = false
    const socket = new WebSocket(url)
    socket.onopen = () => { opened = true }
    socket.onmessage = m => {
      got.push(JSON.parse(m.data))
      if (got.length === messages) socket.close(1000)
    }
    socket.onclose = e => resolve({ opened, got, code: e.code, clean: e.wasClean })
  })
}

// submit sends a form, which needs nobody's leave, and waits until its answer is in a frame.
function submit(url, type, name, value) {
  return new Promise(resolve => {
    const frame = document.createElement('iframe')
    frame.name = 'answer' + Math.random()
    document.body.append(frame)
    frame.onload = () => { if (frame.dataset.sent) resolve() }
    const form = Object.assign(document.createElement('form'), { action: url, method: 'POST', enctype: type, target: frame.name })
    form.append(Object.assign(document.createElement('input'), { name, value }))
    document.body.append(form)
    frame.dataset.sent = '1'
    form.submit()
  })
}

// load waits until an image has been asked for, and says whether it is one.
function load(url) {
  return new Promise(resolve => {
    const image = new Image()
    image.onload = () => resolve(true)
    image.onerror = () => resolve(false)
    image.src = url
  })
}
