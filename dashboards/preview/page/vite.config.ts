import { cpSync, mkdirSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

const modules = 'node_modules';

/** Icons and fonts, where Grafana's components ask for them. */
function grafanaAssets(): Plugin {
  const fonts = [
    ['inter/files/inter-latin-400-normal', 'inter/Inter-Regular'],
    ['inter/files/inter-latin-500-normal', 'inter/Inter-Medium'],
    ['inter/files/inter-latin-400-italic', 'inter/Inter-Italic'],
    ['inter/files/inter-latin-500-italic', 'inter/Inter-MediumItalic'],
    [
      'roboto-mono/files/roboto-mono-latin-400-normal',
      'roboto/L0xTDF4xlVMF-BfR8bXMIhJHg45mwgGEFl0_3vrtSM1J-gEPT5Ese6hmHSh0mQ',
    ],
  ];
  return {
    name: 'grafana-assets',
    closeBundle() {
      for (const icons of ['unicons', 'mono', 'custom', 'solid']) {
        cpSync(
          `${modules}/@grafana/ui/dist/public/img/icons/${icons}`,
          `dist/public/build/img/icons/${icons}`,
          { recursive: true }
        );
      }
      for (const [from, to] of fonts) {
        mkdirSync(`dist/public/fonts/${to.split('/')[0]}`, { recursive: true });
        cpSync(`${modules}/@fontsource/${from}.woff2`, `dist/public/fonts/${to}.woff2`);
      }
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [grafanaAssets()],
  logLevel: 'error',
  build: { target: 'es2022', chunkSizeWarningLimit: 10_000 },
});
