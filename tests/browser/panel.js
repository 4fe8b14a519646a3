// A web panel of one page: it asks the API that it comes from, with the secret of its address.
'use strict'

const secret = new URLSearchParams(location.search).get('secret')

addEventListener('load', async () => {
  const res = await fetch('/version', { headers: secret ? { Authorization: 'Bearer ' + secret } : {} })
  const version = (await res.json()).version
  const socket = new WebSocket(`ws://${location.host}/traffic?token=${encodeURIComponent(secret || '')}`)
  socket.onmessage = m => {
    document.title = `${res.status} ${typeof version} ${Object.keys(JSON.parse(m.data)).includes('up')}`
    socket.close()
  }
  socket.onerror = () => { document.title = 'no WebSocket' }
})
