/** Tiles on top of a picture. */

import type OpenSeadragon from 'openseadragon'
import { addressOf, keyHeaders, send } from './api'
import { VIEW } from './strings'

/** Add tiles. What is wrong with them the server says in its own words, so it is asked first; then `onAnswer` is told. */
export async function addTiles(osd: OpenSeadragon.Viewer, tileSource: string, options: object, onAnswer?: () => void): Promise<OpenSeadragon.TiledImage> {
  await (await send(tileSource)).text()
  onAnswer?.()
  osd.setAjaxHeaders(keyHeaders())
  return new Promise((resolve, reject) => {
    osd.addTiledImage({
      ...options,
      tileSource: addressOf(tileSource),
      success: (event) => resolve((event as unknown as { item: OpenSeadragon.TiledImage }).item),
      error: () => reject(new Error(VIEW.noTiles)),
    })
  })
}
