/** How every picture of a slide on the page behaves. */

import type OpenSeadragon from 'openseadragon'

const MOST_SCREEN_PX_PER_PX = 8
const SCROLL_ZOOM = 1.4
const TILE_RETRIES = 2
const TILE_RETRY_MS = 1000

export function viewerOptions(): OpenSeadragon.Options {
  const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches
  return {
    drawer: 'canvas',
    crossOriginPolicy: 'Anonymous',
    loadTilesWithAjax: true,
    tileRetryMax: TILE_RETRIES,
    tileRetryDelay: TILE_RETRY_MS,
    showNavigationControl: false,
    preserveImageSizeOnResize: true,
    animationTime: isCalm ? 0 : 0.5,
    maxZoomPixelRatio: MOST_SCREEN_PX_PER_PX,
    zoomPerScroll: SCROLL_ZOOM,
    visibilityRatio: 0.3,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  }
}
