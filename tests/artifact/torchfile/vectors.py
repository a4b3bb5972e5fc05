"""Files as `torch.save` of torch 2.13.0 wrote them (zlib, base 85), and what `torch.load` reads from them.

Made from one state dict: tensors of every number format, tied, turned, cut out, quantized and lazily negated ones.
"""

from __future__ import annotations

import base64
import zlib

INF = float("inf")
READABLE: dict[str, tuple[str, tuple[int, ...], list[float]]] = {
    "bf16": ("BF16", (3,), [3.140625, -1.0010069011567216e-38, INF]),
    "bool": ("BOOL", (2,), [1, 0]),
    "e4m3": ("F8_E4M3", (3,), [448, -0.001953125, 1.5]),
    "e5m2": ("F8_E5M2", (3,), [57344, -1.5, 1.52587890625e-05]),
    "empty": ("F32", (0, 4), []),
    "f16": ("F16", (3,), [65504, 5.960464477539063e-08, -0.0]),
    "f32": ("F32", (2, 3), [-1, -0.5, 0, 0.5, 1, 1.5]),
    "f64": ("F64", (2,), [0.3333333432674408, -2]),
    "i16": ("I16", (2,), [-3, 100]),
    "i32": ("I32", (2,), [-3, 100]),
    "i64": ("I64", (2,), [-3, 100]),
    "i8": ("I8", (2,), [-3, 100]),
    "p": ("F32", (1, 2), [1, 2]),
    "row": ("F32", (3,), [0.5, 1, 1.5]),
    "scalar": ("F32", (), [2.5]),
    "tied": ("F32", (2, 3), [-1, -0.5, 0, 0.5, 1, 1.5]),
    "turned": ("F32", (3, 2), [-1, 0.5, -0.5, 1, 0, 1.5]),
    "u16": ("U16", (2,), [65535, 1]),
    "u8": ("U8", (2,), [255, 0]),
    "wide": ("F32", (1,), [7]),
}
"""Name, dtype, shape, values in row-major order."""
LISTED = {
    "c64": ("C64", (1,), 8, "C64 cannot be read"),
    "column": ("F32", (2,), 8, "strides (3,)"),
    "neg": ("F32", (1,), 4, "lazy conjugate or negative"),
    "q": ("I8", (2,), 2, "_rebuild_qtensor"),
}
"""Name, dtype, shape, bytes, and a word of the error that reading ends in."""


def _bytes(coded: str) -> bytes:
    return zlib.decompress(base64.b85decode(coded))


ZIP = _bytes(
    "c-pm?dyrdI9mh{LyXkJA`>eFASStvoSkk=qCfirqPy+R`uzO22)<?LT+}%X-`rVvtTWVnucU$BoP@#a9s-"
    "Rf$iHKHhYZbw_R319RAIv!8jLbMVj^m8Zbn1EB&E9h^+q4PZnPfM~{eHf`^E<zL&hOq))!mLzXD4zTy{I4QW+s=PGFE4GtotiB6_SZ=v|Tu+"
    "+cKGQp<rZizFew$uQ#)XX=FF&GuR7gr3Nlv%1vMs;SjWCaGCJ@=^D-#s@}9|jMwsoY#JM-YS~Org}mVQ`BIC>=~Z&3K50NZmw1zfvW~a%FTK"
    "!_a*=Za;9=-"
    "Yr3Q;s4~EV$6{&5idltG>x9XY&?;SZB!g(0Z*I;pqj1%F!k%jKu;*^JesF@}5u_s4tbM3i~oF~UXy%gkD+h(Cpbx~eF2Mu6YqQN_ut6AOw7s"
    "$e;V?^ejfn};|1}@~HK@9KI;38&7GF2;<;9atA`55tOn}K&z@d~bc4~C01xP(Q$BcC<ky>luy`XF3Nv@Q&n(O`+)`{<jGYgb~pT!Z)X%qtOC"
    "#idp<H<xSU1*4wLD;O^Xe!^?Ru$pCY1_G29<h&4uum%y%3o0-"
    "q@UGDd6Lp%xXkmyFnj1rmrE&&_DQyj>t;MiTgY|4=;}o|+z$MsZ2bDT9&X5t<$dQ{YWP&2E<jBn!uF@dM0?d;EUo8-"
    "?Ete+iv}+h`2)6Lye!v>8N@>?}+6ad0G`ODANa2nOv@NCiN*rS_1vC!ZYQb)xux%XnK@1<#AjM&1upbs+TXSV|9=Dz0qVN%p`>2Kc7{z^@<I"
    ")&z)Id+QQCtkh1=^K4-K@hh3>JedhZz=Zg2E;_EQcYl!6z837K59_dDw;Li=@C{!%*a~k_9VMScSs?gQ-"
    "E4Piwhc04(CjS9M&CSq1|z#d$j{-cHKf#d$Yl*sZ}Q`87`FbdNaHa<Nh{c8UwbEgTz!TluvyZCx9;(YH@=?Clsnt-"
    "%Zn(})zqFxy~R3VUJiys_U}n!MXecvr>9*1h*}?-1O<%k(o=nchjg@8aHfTftAzsAFkrKT-"
    "0+Js9rQ;IllWp<)Q`%Q45C#SFv!ocVyo+)tUG<ID#oCeeH0Aq)pJc$np`MvCqc5g36-"
    "39uc*=dHYdfdUV5;A0lBmM@X3&<lq!d{Kihu?4J}(F?i>U#>4j3^xRi^L#%+a4T1G%vUgcRf8u}9duB|3f=`@6IBWvCMtyC>of?Yw$H*-"
    "YCB!GzrhLL#PBT*zRfDH0^eC+nku@f7Y%HfUihwP5QV3Cb$ySO0bS3ZA^QU{_&zsy7Q+uT_~AbG;mBV2kp@3zZU8@7zzuj+c;Tq67RShv5UU"
    "r$G439N<J|qHR*p~59RJLcR19;j!1RfUe2M6Oes%nHzVoWCz3?0l@fR4L*Wd*<ktJgiekl%d7=Fbw|7)w#e?#AX%eBAT1HZ2e|FEx$;YAHj*"
    "7m?3Q(ffSG|8GyH+Fc5o&Iu)dc!Mw;8nH<PZ?&F?CJ0))m5!l$Ni(~qR#*BfA#q{$dB|jx?tz96!q0R2meIbEb2II(UOV9VgnJR*k|8-"
    "?RJ`X`dSz}h@$gY>oQF1h5TfxXq0d=5tdq$vpSRr4IsV){zenpcE$kuP`n<%I9VObwAo1});8licNFp%7YrK1%=*7vNUt%^8Dr>18-"
    "%WGbs(8o(?S3UO&=rJV-`M6K9kq+IE`o^eD9HE<jZ9ZB3dOz6ig<3=<NMp-"
    "$=b~EdI5Nu7B+fyf%tnp=4rRE9u|9jU6w?Era7UmKXjpa(OT7fX^IDM2sbzOa#t3meadQ(N9y?f5p)~P0W9!wfWz&u{b?_EA{{P_+|Y~_z$("
    "_f9f<pvKF64GBWbglTGAbX(s=tEN|-j%7KGj)Tpz8?>f;pnoPt{^W)DlZ{MAp-"
    "e{u!W3ATzsVsHB&bQ=n<Mpo_B}Dh(WMV^0?xg<N=<j~>)XB#FJ!q4((vZb(eQN=@nE%mBPNbUg54P;j*IUHaz^NzV{>Js!gVst>kVP=sY!tW"
    "LwvJjqx8=`I(N@9Tz*;K5V7S%#+kMnU{oQ|m{BSe=kyiarpXL>?>9rH7#@Anutpnfz47IrbBea6ez5mEXCq#dAR{lzh{%0ENfaFCMx*qg@sN"
    "Yx%_3Q4S&QCvcaIl%{cld3%eh;y+8y7$JpL469dPm&S{Dr;L{l$Zm+ZvC5ISS1;&@2H}!_1Qo`evOzy-Vk_$%OwLg9#{sq42O0iA93Jh!Rpl"
    "0rFo+2`bS@Bo+&i9|B4^5{l9&(aC>4<RfwTSd=arY&}l<okg!Ba``!=thV1kEESY%I?+P+A~M8&6EG-1?z2N2cOEjw-pKa}oc=E4yn&GA_O8"
    "2IkU!Xkq~2fF+Pi2`>+?$5psclby`px%tPROpd+#c0SDYtl!?M=icS_@xwGmls?-"
    "WJt1?NlJAz5qh_C)O=S*yred$%TPmo1jGQCVy6wWK`D+L)}h_er9*zgyA{%UXMn(<5l_m$gAhVcC~<QQY4niyf6^Z!Sdf0f*R8TK3LB6c6;u"
    "Vn=P+cXd(xfJ5vkF8h`&ikI}s;(B$x^{y?<vO}z#eYR1*EOykFeJ>QnDTmlmVD@cH6rXg69TjHZg+%cU14!QYWU+m7SS~u-"
    "#BaTAjjA5cs<}<heTD6bk@$DS!~gDFGIz7-S;Pv|I)Oib>hN&QAUmI*`#(bmac}"
)

LEGACY = _bytes(
    "c-n=Q>3b7J9LIN)w7^2SJ@CZ4^{6?wiK4B594=QE(Rg4?lT8y$viWW%K*2&lTMBsJ2P)op-"
    "?swZ_br}pc<Z0w^XOA&b|z^zZgF4ivokyU`Tpj2%~m}-"
    "l>Fbj7W_4P&7Kvr+N++We|qV?A5v?4sw7Dz%OqyX%qP|wRyk)DA=3r%7WyWiBP4GmjAA;MEW$GsSLh_^D;bG$Zi7*Vw;#UNcoUs0XHAQsN%O"
    "?Lbd)O+G;6-Nk1@<*FUD!UN`-2ss7&5S5vo#FmRo7VGSc&NDWX7X(;>IoUuQx=cv8f)QrY%Ih2-*OC1Dvom0UiZAV#rlT8Xtm1>V-"
    "y_&6p_S0;N6`1mKvg1ng|EBT~?rubyKCKe8;p<tv#RU@Ge70tFzs#KwdH7_F=-"
    ">pfSNAnJ1g67raK`7g^%%F(`lXSG$`ye?Zjmg=TcrzPRtRfvw$x<V-"
    "zO1Xr)GUWjV{otL8N_r=W*Rd%d?vwRIu5r@vCMTi;!v<71#DI~MR^BslqL`0Xbw7t;8-"
    "2U*@jX7RtiNNe<;>$!8)Ov+T$6(i41rWXPr!NijGt59k0u!4V?C0QlP^hi$$X}O0AS6Q&Jn-"
    "A~ooAb~}TU&LlWXM>~(G8phciB!V>Gtn}oKdX)U5=>dN@5(%jYP`ZcGgLZTV5MuN&r$-"
    "1>9UYt=P!V;|7bWwVIy=_jgJ>iW#5t7hrR;O<;0$06W1q*_=M!}5=(2s#!{8S<;B)N+3#fI0xeWsTnCizoAuwMET*w3#aDjyci*zjJr9xeEk"
    "%Pa47EGP3IUExRc0|K|ED?@bDjc(nv6pl93W9DOI%m@mt#q&#7e^}NVyD>=H4+YEl|Wx2(3diFoTD!zxLn5-"
    "98KMFr31Z^b$~j2bz?w7)ah3VctXIhX7D73_YkCXq~jh2kHT=U=Vg;t9i4HYgW+%>7DTT=X9YUP&}%sQ8iKrzf{m_3QFKPLkBp?D>2yidMwb"
    "K{0&OvLnWG6oMaNp6DyEsoIwzb?)#2+K;jDuC1bl;lZ)EUmIlP}>la9^2SJ5=7I(=dmN_k_wv)gTH)Cl>**ea^@I#H$9v)cgI7$n%HW60is5"
    "iW$V{eK#7NWqQ~E80c#RaO<*v5>ACva=ybkw7Gf8$?aqC~D#+X2{LlkXyvIGHgH51hXYmRB$W7Z8~n}_C*Ro+>y2AvpbzTr5z*a$DKmpE+KF"
    "?6S#*9+}j{PVG8aexL?OE+r<@{(hs=P)mV_m>Oo5PQTjt7R=XMfVNQQU&@1%l3#bYnC3sB7<91Ijr;_=kg(uuPDRqq+j;VN3#Apv?x3zKRQv"
    "^@zc*Z_ojY5g^;n^|TdNdY{;yH?tDB^i$o}~E(@q*@KhuMo9_Y%R&I$nv(?8wKfW5l_Xw2}pb7?y(9#xl5r#`1NMxNq1=#ZI?3=?O~J-"
    "r{O+6TGA2-64DM-Zt#jvCozU_KzVAo?{B$AC>0av}Hx>Y4t%vTM0*LU3@4^`AEd&V-"
    "}ZB#P=n`s^xAnlgSk+<kN+n2PON`<Zbwj+xt1e7dpPQGofho;wyJoM`JO%`L9K^z7ZAmExUckLErb|hdSlQp)$cwIu2C&@pF6volQ{ZCeulh"
    "#4q;pU*pUW{ML`(?Z27YKiD6dTrQV;=s(kH_Mhf*_{wg+@VNC|uiNSBb30j@+<I%XTP=@s%i{5FnKHqxQWdwuXQJCdI?3%9rp4_{pX^o@Q`{"
    "<fs#~9*=GHr>yEW|@ZaFd2XqTnhb+F4Lp1e)9r+<diQtf$_eI4i&!~G*`_>~sp`h40eo;GcnGa@s)E+a`*2J5OV+qhRA&1AgVtHoV~YISq-"
    "$cOvrZJ!u)a?t+H+UntrRIXZE>#NNU%XQm^CAq<f+8cS)o84Xi0u{AQ1^"
)

ZIP_PROTOCOL_4 = _bytes(
    "c-pm@TZkJ~7{||Kve|62yV*<WWsy=8B-"
    "NT`lF7|p(oSo%#MNy}rSv6ElF4Rpl1V3%t+l9Iq!%$Nw4*EtwSqz^zKDp>hqe?2UzI8feJBWmLaBm?J}m1wGn4E&XL4y19SEC*@Av(`Ip=@Q"
    "`6fG;Vch_Dy})rzfGHqq`I5XKZ7Ybn7_7deq=j*Cl(-"
    "h%@4eu$fQB!xDvFfXWwlZ>8ouYXf}}}>eR5tmE*M)58i58|jD(HGsIJ1i!E9ZZ6&N^`)udcqRti~Ns?=01yAX!)fk0!p1_Q-"
    ";$!H9j1SHdnD(Z*quP+!4CS)|&e6?<5Ji2ip12V1*d&bDH8Rm@fX2}Ibb>pDXaO<*EFiO)6k6za*=<RSIQ1X_1rP0z@6J;|lh%zVvhO(M^yi"
    "GWpVNb*0(|D){-haJZX%o$4Trip?qTR>kg4Bv_Fq{FS8LJe=k(({X_-"
    "61(V{D&V&nXf<5MhM7>_KRQbFo$2_l&3%aX5lt)*c22?9LIiUodBZi{Tmgt{GSvuip2pTA9b;X!qJ>XqpzhW`Bh+K&%IgS3Y{Eq-"
    "q2m?@GJm1XlIllBnTqqB~p1S>c3E%vQ21>&~gFg46ILM!UFB_nXe+qdmP>EmsxkWqRqjxbBW~OMDsnVyMmfjF{`Q<ZX;uE4j5!#}8NZ6IH1|"
    "$b>stqqVHZim0|k7AY1hkg^MimLa=j-p2<pQAd}SK5F=yDG*~PVC!h|S9#N;?lz+ac~4!gKub4KPc1JhqPDs`U0if^w6<))#%V|@SM?Kkq-"
    "jZD>41zIZYpkSKVqunz*a>~EK9niL47O{?oP(som^z1bLP9VX3AqI<wPsxF>A8ynL_4209Q_en3*;XhJlk+No!8ESS-pF6#aDSj<w5Yn6re}"
    "D$+b&a<Y@BUbSP-)eu*QA4jtAmPK^57?vFX3L0LJv>H4?AX=-{a>2RGu=nvlCfAGbltHh#jtACyFw;7)f<;v;i+a{hmKN4g=T`ILQ2sCP-"
    "F}0C8PKb9{uvNo&2L*iD=PAQr7TtSv=Hea(e;Y)sDRY*W52qfgsW=-lOWY9AO|-"
    "T6&<i?VS7Ki%}bGWU6D`?r+5Cm5uN0ot~HE<T|`%~EtD3X9H0OI7O%s!*X{Hv_!+)#q)<iEk$10dfM0ItQPEbiA}%ci!2Rpr*^RVbEdMeB1%"
    "SJU)^1WOoECNrGW<smo7eX#Ti^z&<(uDUADb{cu<o_+WG#`j5PINRR!&0GFCx`HQ{bIG=AR#I{`c=LFD|~0^#95|I@O1MbTIwp73(V4`B5da"
    "v$rnyG5)cB#(&w?M!G*NT^vC|-X6L;NZoi^NPzzDzhG(y-rDn9AO24a>i^{eQhzS6_Db*lZyX4udNM8S8b}@b-"
    "@N;`?=64VTi*}%P&*CW{B{mj0AuQ3d*tSke)PG4^{xFDn0w&DC#hg>|M|gostULX#`~?}wNpEg^w;};`jmyq*&foA{kX`W{yTY%LHg|7kFWH"
    "j&kw4<vSK-4&+VH>dapk})&W=rL<c<o0oZKLeemi-"
    "H%WbPU;42D^}F5cG^GVMIzRXy{F@lSzw8iF{``xJGySaJ<bSY!FPZl)J^bN659Xg%Ydp~WMb;qoZ!gXt?tTB8KzOx*HV2?4X)^4fUlGx7Mp?"
    "O#7J?60OehwLMv^f;!E+oR3&+Bt1Rvs}T!iD};cz?}=DBz{nKaw{yQe0;3cxx7W|a&owpAzoh%w=)oc<k*rtt@e^#u8u2XuNUp_AYb0W)OdK"
    "McA&dC+<AMt+jWa~{jndVrvDyz3q(@O555_5L)AchMw!nPxef#k*dTT{}XtVVcEzSCYL%vk{ub`%db9*HA1^vv{XSvhUMulxFd6k7PIdC^km"
    "3c(+EfOEep&S-jVx#(9)t6EutWNhEuoW|K6F_c(rnof@OP;V>4ywUh992kdYb-dvFIhH)BpSPSnANce&Sc6bXv)k%2TPs0v#;YTtF8xFYTuJ"
    ")%kG0PJ)9J~L~UUa|?f8l2#3IFJT9R|aXF%mvFNy83@;inJ@-"
    "@@PyyDxq?Y$BDXK#yZ<F5~fRZ60#$6WA|C<lkBQKP7)pH6J!T!|3l*8?DdQ?@vP>i<vRwt=NA7pi?}-"
)

WRAPPED = _bytes(
    "c-o~_&2Jk;6dyZ|<80e}5t=qY_$)ZIb^H~_ZqquL;FK;+olP4oq-eEXPrNJEUccRON-"
    "9~Zgpv~e2!zA|@fUF5kVCH&sXbAN1BeSqNEPA$5=byJ>o~hxlBn&o*0Y{{zu)`4nfGR05_>`jMIz`C8$u&Uu~bc8$5T~>D6!^;MzJt}KJeJB"
    "U>i`h+)Dv<vx*G}v>{k#bV}?7)@vGp9+jAsCnmRuZrFls;Yv$4sxrY1+qC5MqyV94wA@EAHuY3$7<wIua7i)NmYq2P!sP&Ui9=txhmLBq1ra"
    "espnpk3Vo(fjfk21A7981DRnsuAN_4Yf3s<cwws3V`SBU^eCnY#WU_gRFyWCG{%qG$6`b})XP#cDwL~NoE3?prLMnr8Gjg~`v5;x&ljVjf4)"
    "fEj>AzgXLxx567X%R6%-"
    "~^R5Ik~N|h$jh*OYj_bsKfIPiRJ*3@PfwknCRy5qLar<4)|pPuSoD}%Pt?K?oGu~>T=C8TTL5YTZL0?cs*JU(kF%mZ!F|Xl`Hpu|LPx}M+Fn"
    "bhUh~6w{Mx<UC2ND^ScMfZ=c?R$#Qs?%!W5t;k1a9meS%d+%#1U&WJrcZ^N{0IIA{V_2x!QR!s}X>Meulie)Jqf~_isVhIp)9E2*_XwtQq;)"
    ">R?5a0gfHY6lSMkyUjcNS8Mi;I{4rN+NRL?B&JDRC96wtyS#Mu2I)IgZ`=JP#SJ*HDPwNWjb%WF^RL!8r-"
    "e^9NPDuB#YkI~(Kt6yQR)QZ8;nUV=GiC+T*>TOHSB`a^(%v+!?k!n_3U@KxZMK(XVt#<n^|D|LZW5T$0rB~_MLB~wkZEZCTq*So85nWy;?h{"
    "`6sC&87D@C~y?V6oE)Hnw!d&~GZNLIt^oiR^d?aJ77l@jGtB(yO=%rA=6pK;n@rhFO7SZJK9>?(D!djV{M^30C+_MX$m8pB~xk;y^1_68j>R"
    "k-IxzPzQFE_HFqwbfVkxu{G1GD@0z$mQ7U_3!}cycPzo!zkc|`$1H1h?aw}rX7<=Soi5X5s5R=iL5hXc{{}e3GHE6te*=DH6&E~Ez%a^p1yn"
    "W&HrdHgES!ImxVvWPgcz7<*u3!bNw(MF12qhwi=I<;Dqbv{dkO()*7-06-"
    "<*mWEM(*m1+!iSiDDu9#0n6an`5!J@BQ>8tIyCOvFE(8lf}a9(=0!Ye=G04n3k1M?Uy0`20KX0AWC($bc=lIamAzr7V+L^wd;r1-"
    "vmnTH2_cFa}daSwOEKfrhs@hol9r4+4M{<GaXN7XHwJgcrHDY$s{s~TsD`@B$CtdY=)`ang9Dil<J6bl>sKUtJ8fz3_YUU|3AQwb{_y^9^@Z"
    "AXul)HPvUOkaSzE-"
    "2pw>8_<7uoIPBrM@8anm0Dic;iv~RKm0slQT|d^{1zzm;er&>zbyuwydoAq4CjD4<{SA7sKf18{th>7`COlxN4;@mlB{3X6vs>OhXS>LL-"
    "?$KT#=rWUk>dDWUg*50_*`$;!Sr)~$M-+6W08~"
)

LAYOUTS = {"zip": ZIP, "legacy": LEGACY, "zip, protocol 4": ZIP_PROTOCOL_4}
