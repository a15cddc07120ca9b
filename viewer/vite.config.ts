import { defineConfig } from 'vite'

const GATEWAY = 'http://127.0.0.1:8000'

export default defineConfig({
  base: './', // a proxy may show the page below a path
  // The server's policy lets scripts and styles be files of its own, and nothing within the page.
  build: {
    outDir: '../server/static',
    emptyOutDir: false, // its .gitignore stays; old files are removed by `make viewer`
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2000, // the page of the interface is 1.7 MB, and its own
    rolldownOptions: { input: ['index.html', 'docs.html'] },
    license: { fileName: 'assets/licenses.md' }, // of what is in the scripts, whose own comments are left out
  },
  server: { proxy: { '/v1': GATEWAY } },
})
